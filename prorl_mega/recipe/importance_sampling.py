"""Importance sampling: for the same weights, engines compute other log-probabilities than the learner.

With ρ_t = π_old(y_t) / π_sampler(y_t), the learner's probability over the engine's, every loss term of the surrogate is
multiplied by a factor that carries no gradient (bounds: `importance_sampling.floor` a and `importance_sampling.cap` b):

    none           1
    tis            clip(ρ_t, a, b)               truncated importance sampling (Yao et al. 2025, "Your Efficient RL
                                                 Framework Secretly Brings You Off-Policy RL Training"; b = 2, a = 0)
    icepop         ρ_t if a ≤ ρ_t ≤ b, else 0    Ring-1T, arXiv 2510.18855 (a = 0.5, b = 5)
    sequence_mask  ρ_t if a ≤ g ≤ b, else 0      g = exp(mean_t log ρ_t) of the answer; public ProRL v2.1 recipe
                                                 (a = 0.999, b = 1.002)
    mis            P if a ≤ P ≤ b, else 0        masked importance sampling, P = Π_t ρ_t of the answer (Liu et al. 2025,
                                                 "When Speed Kills Stability")

Masked tokens stay in the denominator of the loss: an update with many of them is smaller. `auto` is `none` where
learner and engine compute in fp32 and `tis` in bf16, where the gap is a hundred times as large; with GSPO it is `none`,
because its ratio of whole answers already averages such noise out (arXiv 2507.18071, section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prorl_mega import types
from prorl_mega.config.recipe import ImportanceSamplingConfig, ImportanceSamplingKind, PolicyLossKind
from prorl_mega.recipe.policy_loss import MAX_LOG_RATIO, bounded_ratio, mean_per_sequence, sum_per_sequence
from prorl_mega.types import Metrics


@dataclass(kw_only=True, slots=True, frozen=True)
class ImportanceSamplingInputs:
    """Rows of one micro-batch, every field `[rows]`; no gradient flows through any of them."""

    log_ratio: Tensor  # log ρ
    sequence_ids: Tensor  # int64, which sequence a row belongs to, below the number of rows
    metric_weights: Tensor  # what metrics are averaged with


@dataclass(kw_only=True, slots=True, frozen=True)
class ImportanceSamplingOutputs:
    """`factors` `[rows]` ≥ 0 of the surrogate; `sums` are metrics, share-weighted scalars."""

    factors: Tensor
    sums: dict[str, Tensor]


def _none(inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig) -> ImportanceSamplingOutputs:
    return ImportanceSamplingOutputs(factors=torch.ones_like(inputs.log_ratio), sums={})


def _tis(inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig) -> ImportanceSamplingOutputs:
    ratio = bounded_ratio(inputs.log_ratio)
    return _measured(ratio.clamp(min=bounds.floor, max=bounds.cap), _outside(ratio, bounds), inputs)


def _icepop(inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig) -> ImportanceSamplingOutputs:
    ratio = bounded_ratio(inputs.log_ratio)
    return _masked(ratio, ratio, inputs, bounds)


def _sequence_mask(inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig) -> ImportanceSamplingOutputs:
    mean = bounded_ratio(mean_per_sequence(inputs.log_ratio, inputs.sequence_ids))
    return _masked(bounded_ratio(inputs.log_ratio), mean, inputs, bounds)


def _mis(inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig) -> ImportanceSamplingOutputs:
    product = bounded_ratio(sum_per_sequence(inputs.log_ratio, inputs.sequence_ids))
    return _masked(product, product, inputs, bounds)


def _masked(
    factors: Tensor, judged: Tensor, inputs: ImportanceSamplingInputs, bounds: ImportanceSamplingConfig
) -> ImportanceSamplingOutputs:
    outside = _outside(judged, bounds)
    return _measured(torch.where(outside, 0.0, factors), outside, inputs)


def _outside(ratio: Tensor, bounds: ImportanceSamplingConfig) -> Tensor:
    return (ratio < bounds.floor) | (ratio > bounds.cap)


def _measured(factors: Tensor, outside: Tensor, inputs: ImportanceSamplingInputs) -> ImportanceSamplingOutputs:
    metric_weights = inputs.metric_weights
    return ImportanceSamplingOutputs(
        factors=factors,
        sums={
            "sampler/correction": metric_weights @ factors,
            "sampler/corrected": metric_weights @ outside.to(metric_weights.dtype),
        },
    )


IMPORTANCE_WEIGHTS: dict[
    ImportanceSamplingKind, Callable[[ImportanceSamplingInputs, ImportanceSamplingConfig], ImportanceSamplingOutputs]
] = {
    ImportanceSamplingKind.none: _none,
    ImportanceSamplingKind.tis: _tis,
    ImportanceSamplingKind.icepop: _icepop,
    ImportanceSamplingKind.sequence_mask: _sequence_mask,
    ImportanceSamplingKind.mis: _mis,
}


def resolve_auto(
    kind: ImportanceSamplingKind, policy_loss: str, dtype: torch.dtype, *, sampled_ahead: bool = False
) -> ImportanceSamplingKind:
    """The kind that `auto` means for a learner whose parameters have `dtype`; every other kind is itself.

    `sampled_ahead`: samples may be of earlier versions than the one that is trained, so that exact arithmetic does not
    close the gap; of GSPO, whose ratio is that of an answer, it is an answer that is weighed.
    """
    if kind is not ImportanceSamplingKind.auto:
        return kind
    of_answers = policy_loss == PolicyLossKind.gspo
    if sampled_ahead:
        return ImportanceSamplingKind.mis if of_answers else ImportanceSamplingKind.tis
    exact = dtype in (torch.float32, torch.float64) or of_answers
    return ImportanceSamplingKind.none if exact else ImportanceSamplingKind.tis


def rollout_mismatch(sequences: Sequence[types.TrainSample], bound: float) -> Metrics:
    """Metrics of the gap between sampler and learner at the tokens of an update, which all have `old_logprobs`.

    `sampler/beyond_bound` is the share of tokens whose ratio is outside [1/bound, bound]. When weights of several
    versions sampled the update, mean |log ρ|, largest |log ρ|, KL(sampler ‖ learner) (k3) and that share are also given
    per version, by its distance to the newest: `sampler/kl/lag_1`.
    """
    gap = np.concatenate([_gap(sequence) for sequence in sequences])
    versions = np.concatenate([sequence.token_versions() for sequence in sequences])
    metrics = {"sampler/beyond_bound": _distance(gap, bound)["beyond_bound"]}
    found = np.unique(versions)
    if len(found) > 1:
        for version in found.tolist():
            of_version = _distance(gap[versions == version], bound)
            metrics |= {f"sampler/{name}/lag_{found.max() - version}": value for name, value in of_version.items()}
    return metrics


def _gap(sequence: types.TrainSample) -> np.ndarray:
    """log ρ of each token, `[T]` float64."""
    assert sequence.old_logprobs is not None, "the learner's log-probabilities come first"
    return np.float64(1) * sequence.old_logprobs - sequence.rollout_logprobs


def _distance(gap: np.ndarray, bound: float) -> Metrics:
    """Metrics of `gap`, log ρ `[tokens]`."""
    bounded = gap.clip(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return {
        "logprob_gap": float(np.abs(gap).mean()),
        "logprob_gap_max": float(np.abs(gap).max()),
        "kl": float((np.expm1(bounded) - bounded).mean()),
        "beyond_bound": float((np.abs(gap) > np.log(bound)).mean()),
    }
