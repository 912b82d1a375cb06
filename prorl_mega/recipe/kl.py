"""Per-token KL of policy π and reference ρ: estimates from the sampled token, or exact sums over the vocabulary.

With δ = log ρ(y) − log π(y) for y ~ π (Schulman, "Approximating KL Divergence", 2020):

    k1 = −δ              unbiased, may be negative
    k2 = δ²/2            biased, never negative
    k3 = exp(δ) − 1 − δ  unbiased, never negative
    exact_reverse        KL(π ‖ ρ) = Σ_v π_v (log π_v − log ρ_v)
    exact_forward        KL(ρ ‖ π) = Σ_v ρ_v (log ρ_v − log π_v)

As a *loss*, differentiated through π only, their gradients per token are

    ∇k1 = ∇log π               whose mean on-policy is 0: no penalty at all
    ∇k2 = −δ ∇log π            whose mean on-policy is ∇KL(π ‖ ρ)
    ∇k3 = (1 − exp(δ)) ∇log π  whose mean on-policy is ∇KL(ρ ‖ π)
    exact_reverse, exact_forward   the gradient of the sum itself, without sampling noise, at the prefixes that occur

In the *reward* only values matter (nothing is differentiated): k1 and k3 are unbiased there, k1 being the penalty of
RLHF (arXiv 2009.01325). An exact sum would score a distribution, not the token that was chosen; it is refused there.

Clamps. |δ| is bounded by `kl.clamp` first, and the value by ±`kl.output_clamp` afterwards (0: not); beyond either the
value is constant and the gradient zero, so that one token of reference probability near 0 cannot dominate an
update. Exact values have only the second clamp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prorl_mega.config.recipe import KLConfig, KLEstimator

EXACT = {KLEstimator.exact_reverse: "kl_reverse", KLEstimator.exact_forward: "kl_forward"}
"""Field of the kernels' `TokenStats` that an exact estimator takes."""


@dataclass(kw_only=True, slots=True, frozen=True)
class KLInputs:
    """Every field `[tokens]`, nats."""

    logprobs: Tensor  # log π of the sampled tokens
    reference_logprobs: Tensor  # log ρ of the sampled tokens
    exact: Tensor  # of the kind that the estimator names; not read by the sampled estimators


def _k1(delta: Tensor) -> Tensor:
    return -delta


def _k2(delta: Tensor) -> Tensor:
    return delta.square() / 2


def _k3(delta: Tensor) -> Tensor:
    # expm1: exp(δ) − 1 loses every digit for small δ; the clamp removes the last rounding below zero
    return (torch.expm1(delta) - delta).clamp(min=0)


def _sampled(estimator: Callable[[Tensor], Tensor]) -> Callable[[KLInputs, float], Tensor]:
    def estimate(inputs: KLInputs, clamp: float) -> Tensor:
        return estimator((inputs.reference_logprobs - inputs.logprobs).clamp(min=-clamp, max=clamp))

    return estimate


def _exact(inputs: KLInputs, clamp: float) -> Tensor:
    return inputs.exact


ESTIMATORS: dict[KLEstimator, Callable[[KLInputs, float], Tensor]] = {
    KLEstimator.k1: _sampled(_k1),
    KLEstimator.k2: _sampled(_k2),
    KLEstimator.k3: _sampled(_k3),
    KLEstimator.exact_reverse: _exact,
    KLEstimator.exact_forward: _exact,
}


def kl_per_token(inputs: KLInputs, settings: KLConfig) -> Tensor:
    """`[tokens]` nats, differentiable in `logprobs` or `exact`."""
    values = ESTIMATORS[settings.estimator](inputs, settings.clamp)
    if not settings.output_clamp:
        return values
    return values.clamp(min=-settings.output_clamp, max=settings.output_clamp)
