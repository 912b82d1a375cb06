"""The check that an implementation computes correctly on this machine: a small problem against fp64.

Triton compiles kernels where they run, with the installed version and for the installed GPU. A miscompiled kernel would
raise nothing: the run would merely not learn. So a trainer runs this check once, before its first step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.op import linear_token_stats

CANDIDATES = (None, "chunked")  # the operation's own choice, then the one that depends least on the compiler
TOKENS, VOCAB, VALID = 200, 1100, 1000  # not multiples of any tile size
FACTORS = (1.0, 0.1, 1.0, 0.1, 0.0, -0.5, 0.2)  # logprob, entropy; logprob, entropy, ref_logprob, both KLs
MOST_ERROR = 2e-3  # nats, at logits of standard deviation 4; sums of 4,096 products in fp32 are off by 2e-4
MOST_GRADIENT_ERROR = 2e-2  # relative, Frobenius; rounding to bf16 makes 4e-3


@dataclass(kw_only=True, slots=True, frozen=True)
class Verified:
    """An implementation that passed, its largest errors, and why those tried before it did not."""

    implementation: str | None  # argument of `linear_token_stats`; None leaves the choice to it
    error: float
    gradient_error: float
    refused: dict[str, str]

    def __str__(self) -> str:
        refusals = "".join(f"; {name} refused: {reason}" for name, reason in self.refused.items())
        return f"{_name(self.implementation)}, within {self.error:.0e} of fp64{refusals}"


def verified(
    width: int, dtype: torch.dtype, device: torch.device, candidates: tuple[str | None, ...] = CANDIDATES
) -> Verified:
    """The first of `candidates` whose statistics and gradients, exact KL included, are correct at this width.

    Compiles the kernels (seconds, which training needs anyway). Leaves torch's random state alone.

    Raises:
        RuntimeError: none is correct; the message says what was wrong with each.
    """
    inputs = _inputs(width, dtype, device)
    wide = [tensor.double() for tensor in inputs]
    expected = _compute(wide, "reference")
    refused: dict[str, str] = {}
    for candidate in candidates:
        name = _name(candidate)
        try:
            error, gradient_error = _errors(_compute(inputs, candidate), expected)
        except Exception as failure:  # a compiler may raise anything
            refused[name] = f"{type(failure).__name__}: {failure}".splitlines()[0]
            continue
        if error <= MOST_ERROR and gradient_error <= MOST_GRADIENT_ERROR:
            return Verified(implementation=candidate, error=error, gradient_error=gradient_error, refused=refused)
        refused[name] = f"wrong results (statistics off by {error:.1e} nats, gradients by {gradient_error:.0%})"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    raise RuntimeError(f"no implementation of linear_token_stats computes right on {device} in {dtype}: {reasons}")


def _inputs(width: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """hidden, weight, ref_hidden, ref_weight: logits of standard deviation 4, and a reference nearby."""
    generator = torch.Generator().manual_seed(0)

    def normal(rows: int, deviation: float) -> Tensor:
        return deviation * torch.randn(rows, width, generator=generator)

    hidden, weight = normal(TOKENS, 1.0), normal(VOCAB, 4.0 / width**0.5)
    near = [hidden + normal(TOKENS, 0.1), weight + normal(VOCAB, 0.4 / width**0.5)]
    return [tensor.to(device, dtype) for tensor in (hidden, weight, *near)]


def _compute(inputs: list[Tensor], implementation: str | None) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Statistics without and with the reference, which may be other kernels, and gradients of all of them."""
    hidden, weight, ref_hidden, ref_weight = inputs
    leaves = [tensor.detach().requires_grad_() for tensor in (hidden, weight)]
    options: dict[str, Any] = {"valid_vocab": VALID, "implementation": implementation}
    targets = torch.arange(TOKENS, device=hidden.device) * 7 % VALID
    alone = linear_token_stats(*leaves, targets, 0.9, **options)
    both = linear_token_stats(*leaves, targets, 0.9, ref_hidden=ref_hidden, ref_weight=ref_weight, **options)
    statistics = [each for each in (*alone, *both) if each is not None]
    # Every third row has no gradient, as clipped tokens have none.
    weights = (torch.arange(TOKENS, device=hidden.device) % 3).to(alone.logprob.dtype)
    loss = sum((weights * factor * each).sum() for factor, each in zip(FACTORS, statistics, strict=True))
    return statistics, torch.autograd.grad([loss], leaves)


def _errors(
    actual: tuple[list[Tensor], tuple[Tensor, ...]], expected: tuple[list[Tensor], tuple[Tensor, ...]]
) -> tuple[float, float]:
    """Largest absolute error of a statistic and largest relative one of a gradient; infinite where one is NaN."""
    absolute = max(_finite(float((a.double() - e).abs().max())) for a, e in zip(actual[0], expected[0], strict=True))
    relative = max(
        _finite(float((a.double() - e).norm() / e.norm())) for a, e in zip(actual[1], expected[1], strict=True)
    )
    return absolute, relative


def _finite(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _name(implementation: str | None) -> str:
    return "the default kernels" if implementation is None else implementation
