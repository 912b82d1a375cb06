"""Per-token estimators of KL(policy ‖ reference) from the log-probabilities of the sampled token.

With δ = log π_ref(y) − log π(y) for y ~ π (Schulman, "Approximating KL Divergence", 2020):

    k1 = −δ              unbiased, may be negative
    k2 = δ²/2            biased, never negative
    k3 = exp(δ) − 1 − δ  unbiased, never negative

As a *loss*, differentiated through log π only, their gradients per token are

    ∇k1 = ∇log π               whose mean on-policy is 0: no penalty at all
    ∇k2 = −δ ∇log π            whose mean on-policy is ∇KL(π ‖ π_ref)
    ∇k3 = (1 − exp(δ)) ∇log π  whose mean on-policy is ∇KL(π_ref ‖ π)

δ is clamped to ±clamp first; beyond it the value is constant and the gradient zero, so that one token that the
reference finds impossible cannot dominate an update.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from prorl_mega.config.schema import KLEstimator


def _k1(delta: Tensor) -> Tensor:
    return -delta


def _k2(delta: Tensor) -> Tensor:
    return delta.square() / 2


def _k3(delta: Tensor) -> Tensor:
    # expm1: exp(δ) − 1 loses every digit for small δ; the clamp removes the last rounding below zero
    return (torch.expm1(delta) - delta).clamp(min=0)


ESTIMATORS: dict[KLEstimator, Callable[[Tensor], Tensor]] = {
    KLEstimator.k1: _k1,
    KLEstimator.k2: _k2,
    KLEstimator.k3: _k3,
}


def kl_per_token(logprobs: Tensor, reference_logprobs: Tensor, estimator: KLEstimator, clamp: float) -> Tensor:
    """`[tokens]` nats, differentiable in `logprobs` `[tokens]`; `clamp` > 0 bounds |δ|."""
    delta = (reference_logprobs - logprobs).clamp(min=-clamp, max=clamp)
    return ESTIMATORS[estimator](delta)
