"""Plain torch with full logits: eager, compiled, compiled in recomputed chunks of tokens; `F.linear_cross_entropy`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider

CHUNK = 1024  # tokens
GRAPHS = 64  # of one function, for modes and sizes; beyond the limit torch would silently run eagerly


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


def _whole(function: Callable[..., tuple[Tensor, Tensor, Tensor | None]]) -> Compute:
    return lambda it, mode: Outputs(*function(it.hidden, it.weight, it.targets, it.ref_hidden, it.ref_weight))


def _recomputed(*arguments: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    if torch.is_grad_enabled():
        return checkpoint(_graph(), *arguments, use_reentrant=False)
    return _graph()(*arguments)


def _chunked(
    hidden: Tensor, weight: Tensor, targets: Tensor, ref_hidden: Tensor | None, ref_weight: Tensor | None
) -> tuple[Tensor | None, ...]:
    parts = []
    for start in range(0, len(hidden), CHUNK):
        rows = slice(start, start + CHUNK)
        reference = None if ref_hidden is None else ref_hidden[rows]
        parts.append(_recomputed(hidden[rows], weight, targets[rows], reference, ref_weight))
    return tuple(None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True))


def _linear_cross_entropy() -> Compute:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise ImportError(f"torch {torch.__version__} has no torch.nn.LinearCrossEntropyOptions")
    function, options = torch.nn.functional.linear_cross_entropy, torch.nn.LinearCrossEntropyOptions()
    return lambda it, mode: Outputs(mean_logprob=-function(it.hidden, it.weight, it.targets, options=options))


PROVIDERS = [
    *(
        Provider(
            name=name,
            load=load,
            differentiates=("logprob", "entropy", "kl_reverse"),
            recomputes=recomputes,
            computes="logprob + entropy + KL",
            remark="16-bit inputs: logits rounded to 16 bits",
        )
        for name, load, recomputes in (
            ("torch eager", lambda: _whole(statistics), False),
            ("torch compiled", lambda: _whole(_graph()), False),
            ("torch compiled, chunked", lambda: _whole(_chunked), True),
        )
    ),
    Provider(
        name="F.linear_cross_entropy",
        load=_linear_cross_entropy,
        recomputes=False,
        per_token=False,
        computes="mean logprob",
        remark="gradients are made in the forward pass",
    ),
]
