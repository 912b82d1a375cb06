"""The surrogates that a policy update minimises.

With r_t = π(y_t)/π_old(y_t), A_t the advantage, lo = clip_low, hi = clip_high, sg the stop of gradients:

    ppo_clip   −min(r A, clip(r, 1−lo, 1+hi) A)               arXiv 1707.06347; decoupled bounds: DAPO, arXiv 2503.14476
    dual_clip  the same, and at most −c A where A < 0         arXiv 1912.09729 (c = dual_clip > 1)
    cispo      −sg(clip(r, 1−lo, 1+hi)) A log π               MiniMax-M1, arXiv 2506.13585
    gspo       −min(s A, clip(s, 1−lo, 1+hi) A),              arXiv 2507.18071
               s = exp(1/T Σ_t log r_t) of the whole answer

Gradients with respect to log π_t: ppo_clip −r A inside the bounds and where it leads back inside; cispo −clip(r) A at
every token; gspo −s A / T at every token of the answer when each of its tokens repeats the sequence's term, as here:
the weights of the tokens (`token_weights`) then sum it up, `sequence_mean` being the paper's.
GSPO's bounds are of the order of 1e-4, CISPO's lower one is 1 (none) in its paper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prorl_mega.config.recipe import PolicyLossConfig, PolicyLossKind
from prorl_mega.plugins import resolve

MAX_LOG_RATIO = 20.0  # exp(20) = 5e8: beyond any trust region, and far from fp32 overflow


@dataclass(kw_only=True, slots=True, frozen=True)
class PolicyLossInputs:
    """Rows of one micro-batch, every field `[rows]`, finite unless the model is broken; whole sequences only."""

    logprobs: Tensor  # of the policy that is trained; carries gradients, like `log_ratio`
    log_ratio: Tensor  # log π − log π_old, not bounded
    advantages: Tensor
    sequence_ids: Tensor  # int64, which sequence a row belongs to, below the number of rows
    metric_weights: Tensor  # what metrics are averaged with


@dataclass(kw_only=True, slots=True, frozen=True)
class PolicyLossOutputs:
    """`losses` `[rows]` before weighting; `sums` are metrics, scalars weighted with `metric_weights`."""

    losses: Tensor
    sums: dict[str, Tensor]


def bounded_ratio(log_ratio: Tensor) -> Tensor:
    """exp of the log-ratio where that is finite in every dtype; constant, with a gradient of zero, beyond."""
    return log_ratio.clamp(min=-MAX_LOG_RATIO, max=MAX_LOG_RATIO).exp()


def sum_per_sequence(values: Tensor, sequence_ids: Tensor) -> Tensor:
    """`[rows]`: at every row the sum of `values` over all rows of its sequence.

    In fp64, so that the order in which a GPU adds does not show.
    """
    totals = torch.zeros_like(values, dtype=torch.float64).index_add(0, sequence_ids, values.double())
    return totals.index_select(0, sequence_ids).to(values.dtype)


def mean_per_sequence(values: Tensor, sequence_ids: Tensor) -> Tensor:
    """`[rows]`: at every row the mean of `values` over all rows of its sequence."""
    return sum_per_sequence(values, sequence_ids) / sum_per_sequence(torch.ones_like(values), sequence_ids)


def _clipped(ratio: Tensor, settings: PolicyLossConfig) -> Tensor:
    return ratio.clamp(min=1 - settings.clip_low, max=1 + settings.clip_high)


def _pessimistic(ratio: Tensor, inputs: PolicyLossInputs, settings: PolicyLossConfig) -> Tensor:
    return -torch.minimum(ratio * inputs.advantages, _clipped(ratio, settings) * inputs.advantages)


def _ratio_metrics(ratio: Tensor, inputs: PolicyLossInputs, settings: PolicyLossConfig) -> dict[str, Tensor]:
    """The mean ratio, and the shares of tokens whose gradient the two bounds remove."""
    metric_weights, advantages = inputs.metric_weights, inputs.advantages
    with torch.no_grad():
        return {
            "policy/ratio": metric_weights @ ratio,
            "policy/clipped_low": metric_weights
            @ ((ratio < 1 - settings.clip_low) & (advantages < 0)).to(metric_weights.dtype),
            "policy/clipped_high": metric_weights
            @ ((ratio > 1 + settings.clip_high) & (advantages > 0)).to(metric_weights.dtype),
        }


def _ppo_clip(inputs: PolicyLossInputs, settings: PolicyLossConfig) -> PolicyLossOutputs:
    ratio = bounded_ratio(inputs.log_ratio)
    return PolicyLossOutputs(losses=_pessimistic(ratio, inputs, settings), sums=_ratio_metrics(ratio, inputs, settings))


def _dual_clip(inputs: PolicyLossInputs, settings: PolicyLossConfig) -> PolicyLossOutputs:
    ratio = bounded_ratio(inputs.log_ratio)
    losses = _pessimistic(ratio, inputs, settings)
    ceiling = -settings.dual_clip * inputs.advantages
    beyond = (inputs.advantages < 0) & (losses > ceiling)
    sums = _ratio_metrics(ratio, inputs, settings)
    sums["policy/clipped_dual"] = inputs.metric_weights @ beyond.to(inputs.metric_weights.dtype)
    return PolicyLossOutputs(losses=torch.where(beyond, ceiling, losses), sums=sums)


def _cispo(inputs: PolicyLossInputs, settings: PolicyLossConfig) -> PolicyLossOutputs:
    """The metrics count tokens at a bound whatever their advantage: their gradient is smaller, not zero."""
    ratio = bounded_ratio(inputs.log_ratio.detach())
    weight = _clipped(ratio, settings)
    metric_weights = inputs.metric_weights
    return PolicyLossOutputs(
        losses=-weight * inputs.advantages * inputs.logprobs,
        sums={
            "policy/ratio": metric_weights @ ratio,
            "policy/clipped_low": metric_weights @ (ratio < weight).to(metric_weights.dtype),
            "policy/clipped_high": metric_weights @ (ratio > weight).to(metric_weights.dtype),
        },
    )


def _gspo(inputs: PolicyLossInputs, settings: PolicyLossConfig) -> PolicyLossOutputs:
    ratio = bounded_ratio(mean_per_sequence(inputs.log_ratio, inputs.sequence_ids))
    return PolicyLossOutputs(losses=_pessimistic(ratio, inputs, settings), sums=_ratio_metrics(ratio, inputs, settings))


PolicyLoss = Callable[[PolicyLossInputs, PolicyLossConfig], PolicyLossOutputs]
"""The type of what `recipe.policy_loss.kind: my_file.py:function` names. Without rows its metrics are zeros."""

POLICY_LOSSES: dict[str, PolicyLoss] = {
    PolicyLossKind.ppo_clip: _ppo_clip,
    PolicyLossKind.dual_clip: _dual_clip,
    PolicyLossKind.cispo: _cispo,
    PolicyLossKind.gspo: _gspo,
}


@functools.cache
def find_policy_loss(kind: str) -> PolicyLoss:
    """The policy loss of that name, or of that import path. Raises ConfigError."""
    found: PolicyLoss = resolve(kind, POLICY_LOSSES, what="policy loss", key="recipe.policy_loss.kind")
    return found
