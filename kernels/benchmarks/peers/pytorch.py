"""Plain torch with full logits: eager, compiled, compiled in recomputed chunks of tokens; `F.linear_cross_entropy`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider

CHUNK = 1024  # tokens
GRAPHS = 64  # per function, for modes and sizes; beyond the limit torch would silently run eagerly


def statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, ref_hidden: Tensor | None, ref_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits in the inputs' dtype, as an output layer returns them, everything after in fp32."""
    log_p = torch.log_softmax((hidden @ weight.t()).float(), -1)
    p = log_p.exp()
    logprob, entropy = log_p.gather(1, targets[:, None]).squeeze(1), -(p * log_p).sum(-1)
    if ref_hidden is None or ref_weight is None:
        return logprob, entropy, None
    log_q = torch.log_softmax((ref_hidden @ ref_weight.t()).float(), -1)
    return logprob, entropy, (p * (log_p - log_q)).sum(-1)


@cache
def _graph() -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    torch._dynamo.config.recompile_limit = GRAPHS
    return torch.compile(statistics, dynamic=False)


def _whole(function: Callable[..., tuple[Tensor | None, ...]]) -> Compute:
    return lambda it, mode: Outputs(*function(it.hidden, it.weight, it.targets, it.ref_hidden, it.ref_weight))


def _chunked(
    hidden: Tensor, weight: Tensor, targets: Tensor, ref_hidden: Tensor | None, ref_weight: Tensor | None
) -> tuple[Tensor | None, ...]:
    run = partial(checkpoint, _graph(), use_reentrant=False) if torch.is_grad_enabled() else _graph()
    parts = []
    for start in range(0, len(hidden), CHUNK):
        rows = slice(start, start + CHUNK)
        reference = None if ref_hidden is None else ref_hidden[rows]
        parts.append(run(hidden[rows], weight, targets[rows], reference, ref_weight))
    return tuple(None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True))


def _linear_cross_entropy() -> Compute:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise ImportError(f"torch {torch.__version__} has no torch.nn.LinearCrossEntropyOptions")
    function, options = torch.nn.functional.linear_cross_entropy, torch.nn.LinearCrossEntropyOptions()
    return lambda it, mode: Outputs(mean_logprob=-function(it.hidden, it.weight, it.targets, options=options))


ALL = ("logprob", "entropy", "kl_reverse")
ROUNDED = "16-bit inputs: logits rounded to 16 bits"
EARLY = "gradients are made in the forward pass"

PROVIDERS = [
    Provider("torch eager", lambda: _whole(statistics), "torch", ROUNDED, ALL, recomputes=False),
    Provider("torch compiled", lambda: _whole(_graph()), "torch", ROUNDED, ALL, recomputes=False),
    Provider("torch compiled, chunked", lambda: _whole(_chunked), "torch", ROUNDED, ALL),
    Provider("F.linear_cross_entropy", _linear_cross_entropy, "torch", EARLY, recomputes=False, per_token=False),
]
