"""The policy loss of one micro-batch, and what it measures on the way.

    r    = exp(log π − log π_old)
    ℓ    = −min(r A, clip(r, 1 − clip_low, 1 + clip_high) A) + c_kl · kl − c_H · H
    loss = Σ w ℓ

PPO's clipped surrogate (arXiv 1707.06347) with decoupled bounds (DAPO, arXiv 2503.14476), the KL penalty inside the
loss (GRPO, arXiv 2402.03300; ProRL, arXiv 2505.24864) and an entropy bonus. The token weights w carry the aggregation:
they sum to 1 over the whole update, so losses and metrics of micro-batches and of data-parallel ranks just add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prorl_mega.config.schema import LossAggregation, RecipeConfig
from prorl_mega.recipe.kl import kl_per_token
from prorl_mega.types import Coefficients

MAX_LOG_RATIO = 20.0  # exp(20) = 5e8: beyond any trust region, and far from fp32 overflow


@dataclass(kw_only=True, slots=True, frozen=True)
class LossInputs:
    """Completion tokens of one micro-batch, every field `[rows]`; only `logprobs` and `entropy` carry gradients.

    Rows of weight 0 (padding, masked tokens) may hold anything, also NaN: their gradient is exactly zero.
    """

    logprobs: Tensor  # of the policy that is trained
    entropy: Tensor  # nats, of the policy that is trained
    old_logprobs: Tensor  # of the policy at the start of this rollout step, by the learner
    reference_logprobs: Tensor  # of the reference policy, by the learner
    sampler_logprobs: Tensor  # of the engine that sampled the tokens
    advantages: Tensor
    weights: Tensor  # ≥ 0, from `token_weights`


@dataclass(kw_only=True, slots=True, frozen=True)
class LossOutputs:
    """`loss` and metrics as scalar tensors (nothing has been synchronised with the host).

    Reduce over micro-batches and data-parallel ranks: add `loss` and `sums`, take the maximum of `maxima`. As weights
    sum to 1 over the update, the added-up `sums` are weighted means.
    """

    loss: Tensor
    sums: dict[str, Tensor]
    maxima: dict[str, Tensor]


def token_weights(lengths: Sequence[int], aggregation: LossAggregation) -> np.ndarray:
    """Weight of every token of sequence i, `[sequences]` float64, from *all* completion lengths of the update.

    token_mean: 1 / Σ T, each token counts the same (DAPO). sequence_mean: 1 / (S T_i), each sequence does (GRPO).
    Empty completions weigh nothing. Σ_i T_i w_i = 1.
    """
    tokens = np.asarray(lengths, dtype=np.float64)
    if not tokens.any():
        return np.zeros_like(tokens)
    filled = tokens > 0
    if aggregation is LossAggregation.token_mean:
        return np.where(filled, 1.0 / tokens.sum(), 0.0)
    return np.where(filled, 1.0 / (filled.sum() * np.maximum(tokens, 1.0)), 0.0)


def policy_loss(inputs: LossInputs, recipe: RecipeConfig, coefficients: Coefficients) -> LossOutputs:
    """Loss and metrics of one micro-batch. A coefficient of 0 leaves its term out of the gradient altogether."""
    weights = inputs.weights
    active = weights != 0

    def where_active(values: Tensor) -> Tensor:
        return torch.where(active, values, 0.0)

    advantages = where_active(inputs.advantages)
    entropy = where_active(inputs.entropy)
    raw_log_ratio = where_active(inputs.logprobs - inputs.old_logprobs)
    log_ratio = raw_log_ratio.clamp(min=-MAX_LOG_RATIO, max=MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(min=1 - recipe.clip_low, max=1 + recipe.clip_high)
    surrogate = weights @ -torch.minimum(ratio * advantages, clipped * advantages)
    kl = weights @ kl_per_token(
        where_active(inputs.logprobs), where_active(inputs.reference_logprobs), recipe.kl_estimator, recipe.kl_clamp
    )
    mean_entropy = weights @ entropy

    loss = surrogate
    if coefficients.kl:
        loss = loss + coefficients.kl * kl
    if coefficients.entropy:
        loss = loss - coefficients.entropy * mean_entropy

    with torch.no_grad():
        gap = where_active(inputs.old_logprobs - inputs.sampler_logprobs)
        log_gap = gap.clamp(min=-MAX_LOG_RATIO, max=MAX_LOG_RATIO)
        sums = {
            "loss/total": loss.detach(),
            "loss/surrogate": surrogate.detach(),
            "policy/kl": kl.detach(),
            "policy/entropy": mean_entropy.detach(),
            "policy/logprob": weights @ where_active(inputs.logprobs),
            "policy/ratio": weights @ ratio,
            "policy/kl_to_old": weights @ (torch.expm1(log_ratio) - log_ratio),
            "policy/clipped_low": weights @ ((ratio < 1 - recipe.clip_low) & (advantages < 0)).to(weights.dtype),
            "policy/clipped_high": weights @ ((ratio > 1 + recipe.clip_high) & (advantages > 0)).to(weights.dtype),
            "sampler/logprob_gap": weights @ gap.abs(),
            "sampler/kl": weights @ (torch.expm1(log_gap) - log_gap),
        }
        maxima = {
            "policy/log_ratio_max": _largest(raw_log_ratio),
            "sampler/logprob_gap_max": _largest(gap),
        }
    return LossOutputs(loss=loss, sums=sums, maxima=maxima)


def _largest(values: Tensor) -> Tensor:
    """max |v|, 0 for no values."""
    return values.abs().amax() if values.numel() else values.new_zeros(())
