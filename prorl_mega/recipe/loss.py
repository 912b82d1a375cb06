"""The policy loss of one micro-batch, and its metrics.

    ℓ    = c ℓ_objective + c_kl · kl − c_H · H
    loss = Σ w ℓ

ℓ_objective is the surrogate (`policy_loss.py`), c its weight for the gap between sampler and learner
(`importance_sampling.py`), kl is the penalty for leaving the reference policy (`kl.py`; inside the loss as in GRPO,
arXiv 2402.03300, and ProRL, arXiv 2505.24864; or in the reward, then it is only measured here), H an entropy bonus. The
token weights w carry the aggregation; losses of micro-batches and of data-parallel ranks just add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prorl_mega.config.recipe import KLPlacement, LossAggregation, RecipeConfig
from prorl_mega.recipe.importance_sampling import IMPORTANCE_WEIGHTS, ImportanceSamplingInputs
from prorl_mega.recipe.kl import KLInputs, kl_per_token
from prorl_mega.recipe.policy_loss import MAX_LOG_RATIO, PolicyLossInputs, find_policy_loss
from prorl_mega.types import StepHyperparams


@dataclass(kw_only=True, slots=True, frozen=True)
class LossInputs:
    """Completion tokens of one micro-batch, every field `[rows]`; `logprobs`, `entropy` and `exact_kl` carry gradients.

    Rows of weight 0 (padding, masked tokens) may hold anything, also NaN: their gradient is exactly zero. All tokens of
    a sequence are in one micro-batch.
    """

    logprobs: Tensor  # of the policy that is trained
    entropy: Tensor  # nats, of the policy that is trained
    exact_kl: Tensor  # of policy and reference over the vocabulary; read by the exact estimators only
    old_logprobs: Tensor  # of the policy at the start of this rollout step, by the learner
    reference_logprobs: Tensor  # of the reference policy, by the learner; not read by the exact estimators
    rollout_logprobs: Tensor  # of the engine that sampled the tokens
    advantages: Tensor
    sequence_ids: Tensor  # int64, which sequence a row belongs to: any numbers below the number of rows
    weights: Tensor  # ≥ 0, from `token_weights`
    metric_weights: Tensor  # ≥ 0, likewise; what metrics are averaged with


@dataclass(kw_only=True, slots=True, frozen=True)
class LossOutputs:
    """`loss` and metrics as scalar tensors (nothing has been synchronised with the host).

    Reduce over micro-batches and data-parallel ranks: add `loss` and `sums`, take the maximum of `maxima`. The metric
    weights sum to 1 over the update, so the added-up `sums` are weighted means.
    """

    loss: Tensor
    sums: dict[str, Tensor]
    maxima: dict[str, Tensor]


@dataclass(kw_only=True, slots=True, frozen=True)
class TokenWeights:
    """The weights of every token of sequence i, `[sequences]` float64 each."""

    loss: np.ndarray
    metric_weights: np.ndarray  # Σ_i T_i · shares_i = 1


def token_weights(lengths: Sequence[int], aggregation: LossAggregation, fixed_length: int) -> TokenWeights:
    """The token weights from *all* completion lengths of the update; empty completions have weight 0.

    token_mean: 1 / Σ T, each token counts the same (DAPO). sequence_mean: 1 / (S T_i), each sequence does (GRPO).
    fixed_length: 1 / (S · fixed_length), a sum over tokens on a fixed scale (Dr. GRPO, arXiv 2503.20783); these do not
    sum to 1, so metrics are token means there.
    """
    tokens = np.asarray(lengths, dtype=np.float64)
    weights = AGGREGATIONS[aggregation](tokens, fixed_length)
    if aggregation is LossAggregation.fixed_length:
        return TokenWeights(loss=weights, metric_weights=_token_mean(tokens, fixed_length))
    return TokenWeights(loss=weights, metric_weights=weights)


def _token_mean(tokens: np.ndarray, fixed_length: int) -> np.ndarray:
    return np.where(tokens > 0, 1.0 / max(tokens.sum(), 1.0), 0.0)


def _sequence_mean(tokens: np.ndarray, fixed_length: int) -> np.ndarray:
    filled = tokens > 0
    return np.where(filled, 1.0 / (max(filled.sum(), 1) * np.maximum(tokens, 1.0)), 0.0)


def _fixed_length(tokens: np.ndarray, fixed_length: int) -> np.ndarray:
    filled = tokens > 0
    return np.where(filled, 1.0 / (max(filled.sum(), 1) * fixed_length), 0.0)


AGGREGATIONS = {
    LossAggregation.token_mean: _token_mean,
    LossAggregation.sequence_mean: _sequence_mean,
    LossAggregation.fixed_length: _fixed_length,
}


def rl_loss(inputs: LossInputs, recipe: RecipeConfig, hyperparams: StepHyperparams) -> LossOutputs:
    """Loss and metrics of one micro-batch of rollouts. A coefficient of 0 leaves its term out of the gradient."""
    weights, metric_weights = inputs.weights, inputs.metric_weights
    active = weights != 0

    def where_active(values: Tensor) -> Tensor:
        return torch.where(active, values, 0.0)

    logprobs, entropy = where_active(inputs.logprobs), where_active(inputs.entropy)
    log_ratio = where_active(inputs.logprobs - inputs.old_logprobs)
    gap = where_active(inputs.old_logprobs - inputs.rollout_logprobs).detach()
    policy_loss = find_policy_loss(recipe.policy_loss.kind)(
        PolicyLossInputs(
            logprobs=logprobs,
            log_ratio=log_ratio,
            advantages=where_active(inputs.advantages),
            sequence_ids=inputs.sequence_ids,
            metric_weights=metric_weights,
        ),
        recipe.policy_loss,
    )
    importance_sampling = IMPORTANCE_WEIGHTS[recipe.importance_sampling.kind](
        ImportanceSamplingInputs(log_ratio=gap, sequence_ids=inputs.sequence_ids, metric_weights=metric_weights),
        recipe.importance_sampling,
    )
    kl = kl_per_token(
        KLInputs(
            logprobs=logprobs,
            reference_logprobs=where_active(inputs.reference_logprobs),
            exact=where_active(inputs.exact_kl),
        ),
        recipe.kl,
    )
    surrogate = weights @ (policy_loss.losses * importance_sampling.factors)
    loss = surrogate
    if hyperparams.kl and recipe.kl.placement is KLPlacement.loss:
        loss = loss + hyperparams.kl * (weights @ kl)
    if hyperparams.entropy:
        loss = loss - hyperparams.entropy * (weights @ entropy)

    with torch.no_grad():
        log_moved = log_ratio.clamp(min=-MAX_LOG_RATIO, max=MAX_LOG_RATIO)
        log_gap = gap.clamp(min=-MAX_LOG_RATIO, max=MAX_LOG_RATIO)
        sums = {
            "loss/total": loss.detach(),
            "loss/surrogate": surrogate.detach(),
            "policy/kl": metric_weights @ kl,
            "policy/entropy": metric_weights @ entropy,
            "policy/logprob": metric_weights @ logprobs,
            "policy/kl_to_old": metric_weights @ (torch.expm1(log_moved) - log_moved),
            "sampler/logprob_gap": metric_weights @ gap.abs(),
            "sampler/kl": metric_weights @ (torch.expm1(log_gap) - log_gap),
            **{name: value.detach() for name, value in policy_loss.sums.items()},
            **importance_sampling.sums,
        }
        maxima = {
            "policy/log_ratio_max": _largest(log_ratio),
            "sampler/logprob_gap_max": _largest(gap),
        }
    return LossOutputs(loss=loss, sums=sums, maxima=maxima)


def sft_loss(logprobs: Tensor, entropy: Tensor, weights: Tensor) -> LossOutputs:
    """Maximum likelihood of the completion tokens of one micro-batch, every argument `[rows]`."""
    loss = -(weights @ logprobs)
    return LossOutputs(
        loss=loss, sums={"loss/total": loss.detach(), "policy/entropy": weights @ entropy.detach()}, maxima={}
    )


def _largest(values: Tensor) -> Tensor:
    """max |v|, 0 for no values."""
    return values.abs().amax() if values.numel() else values.new_zeros(())
