"""Advantages from rewards: one number per sample, or one per token where a KL penalty is part of the reward.

With R_i the reward of sample i of a group g of n samples, and p_it the KL penalty of its token t (nothing unless
`kl.placement` is `reward`), R'_i = R_i − Σ_t p_it:

    grpo                   (R'_i − mean_g) / (std_g + ε)               arXiv 2402.03300; ProRL, arXiv 2505.24864, eq. 2
    dr_grpo                R'_i − mean_g                               arXiv 2503.20783, section 3.2
    rloo                   R'_i − (Σ_{j≠i} R'_j) / (n − 1)             arXiv 2402.14740
    reinforce_pp           G_it = R_i − Σ_{s≥t} p_is,                  arXiv 2501.03262
                           (G_it − mean_batch) / (std_batch + ε)
    reinforce_pp_baseline  the same from R_i − mean_g                  arXiv 2501.03262; ProRL v2

Groups without spread. The first three give exactly zero. reinforce_pp has no baseline of the group, so such a group
does teach: its answers are better or worse than the batch. For reinforce_pp_baseline R_i − mean_g is exactly zero, and
so is the advantage with moments over samples (their mean is zero by construction, up to rounding); with moments over
tokens the mean is not zero when length and reward are related, and the whole group gets −mean/std. A batch
without spread gives exactly zero everywhere.

The weight of what went well (`positive_weight` λ, 1: none): A ← λ A where A > 0, after everything else. Entropy falls
with the covariance of log π and A, and what went well is mostly what was likely already: λ < 1 keeps entropy up without
asking for anything that is wrong, λ > 1 lowers it (W-REINFORCE, arXiv 2506.01347, λ = 0.1; as an actuator of entropy
control in EntroPIC, arXiv 2511.15248).

Moments over samples (`BatchMoments.sample`) are the formula as ProRL v2 prints it; over tokens, a long answer counts as
often as it has tokens, as its public implementations do. They are population moments: batches are large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prorl_mega.config.recipe import AdvantageConfig, AdvantageEstimator, BatchMoments, GroupStd
from prorl_mega.plugins import resolve

EPSILON = 1e-6  # rewards are in [0, 1]: far below the smallest spread of a group that is kept

Advantage = float | np.ndarray
"""The advantage of a sample: one number for all its tokens, or `[T]` float64."""

ByGroup = list[list[Advantage]]

DEGREES: dict[GroupStd, int] = {GroupStd.sample: 1, GroupStd.population: 0}


@dataclass(kw_only=True, slots=True, frozen=True)
class Rewards:
    """The rewards of all scored samples of a step, by group; samples with an infrastructure error are left out."""

    values: list[np.ndarray]  # [groups][samples] float64
    lengths: list[np.ndarray]  # [groups][samples] tokens that are trained on; 0: it counts in the baseline only
    penalties: list[list[np.ndarray]] | None = None  # [groups][samples][T], ≥ 0 or not, subtracted at each token

    def totals(self) -> list[np.ndarray]:
        """R' of every sample."""
        if self.penalties is None:
            return self.values
        return [
            values - np.array([penalty.sum() for penalty in penalties], dtype=np.float64)
            for values, penalties in zip(self.values, self.penalties, strict=True)
        ]


def _spreads(group: np.ndarray) -> bool:
    return len(group) > 1 and bool(np.ptp(group) > 0)


def _centred(group: np.ndarray) -> np.ndarray:
    """Values minus their mean, exactly zero if all are equal: the rounding of the mean must not become a signal."""
    return group - group.mean() if _spreads(group) else np.zeros_like(group)


def _grpo(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    """The std is over n − 1 by default: the papers leave it open, and the trainer that ProRL was run with does so. For
    16 samples, advantages are 3 % smaller than with the population's."""

    def normalised(group: np.ndarray) -> np.ndarray:
        if not _spreads(group):
            return np.zeros_like(group)
        return (group - group.mean()) / (group.std(ddof=DEGREES[settings.group_std]) + EPSILON)

    return [normalised(group).tolist() for group in rewards.totals()]


def _dr_grpo(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    return [_centred(group).tolist() for group in rewards.totals()]


def _rloo(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    """R_i − mean of the others = n / (n − 1) · (R_i − mean of all)."""
    return [(_centred(group) * (len(group) / max(1, len(group) - 1))).tolist() for group in rewards.totals()]


def _reinforce_pp(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    return _normalised_over_batch(rewards, rewards.values, settings.batch_moments)


def _reinforce_pp_baseline(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    return _normalised_over_batch(rewards, [_centred(group) for group in rewards.values], settings.batch_moments)


def _normalised_over_batch(rewards: Rewards, values: list[np.ndarray], moments: BatchMoments) -> ByGroup:
    returns = _returns(values, rewards.penalties)
    points, weights = POINTS[moments](returns, rewards.lengths)
    if not weights.any() or np.ptp(points[weights > 0]) == 0:
        return [[each * 0.0 for each in group] for group in returns]
    mean = np.average(points, weights=weights)
    std = np.sqrt(np.average((points - mean) ** 2, weights=weights))
    return [[(each - mean) / (std + EPSILON) for each in group] for group in returns]


def _returns(values: list[np.ndarray], penalties: list[list[np.ndarray]] | None) -> ByGroup:
    """Value minus the penalties of this and all later tokens."""
    if penalties is None:
        return [group.tolist() for group in values]
    return [
        [_to_go(*each) for each in zip(group.tolist(), of_group, strict=True)]
        for group, of_group in zip(values, penalties, strict=True)
    ]


def _to_go(value: float, penalty: np.ndarray) -> Advantage:
    return value - np.cumsum(penalty[::-1])[::-1] if len(penalty) else value


def _per_sample(returns: ByGroup, lengths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each sample counts once, by the return of its first token."""
    points = np.array([np.ravel(each)[0] for group in returns for each in group], dtype=np.float64)
    return points, np.ones_like(points)


def _per_token(returns: ByGroup, lengths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each token that is trained on counts once."""
    points, weights = [np.empty(0)], [np.empty(0)]
    for group, counts in zip(returns, lengths, strict=True):
        for each, count in zip(group, counts.tolist(), strict=True):
            point = np.ravel(np.asarray(each, dtype=np.float64))
            points.append(point)
            weights.append(np.full(len(point), count / len(point)))
    return np.concatenate(points), np.concatenate(weights)


POINTS: dict[BatchMoments, Callable[[ByGroup, list[np.ndarray]], tuple[np.ndarray, np.ndarray]]] = {
    BatchMoments.sample: _per_sample,
    BatchMoments.token: _per_token,
}

Estimator = Callable[[Rewards, AdvantageConfig], ByGroup]
"""The type of the function that `recipe.advantage.estimator: my_file.py:function` names."""

ESTIMATORS: dict[str, Estimator] = {
    AdvantageEstimator.grpo: _grpo,
    AdvantageEstimator.dr_grpo: _dr_grpo,
    AdvantageEstimator.rloo: _rloo,
    AdvantageEstimator.reinforce_pp: _reinforce_pp,
    AdvantageEstimator.reinforce_pp_baseline: _reinforce_pp_baseline,
}


def advantages(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    """Advantages `[groups][samples]` in the order of `rewards`; an estimator may normalise over the whole step."""
    estimate: Estimator = resolve(settings.estimator, ESTIMATORS, what="advantage", key="recipe.advantage.estimator")
    estimated = estimate(rewards, settings)
    weight = settings.positive_weight
    return estimated if weight == 1 else [[_weighted(each, weight) for each in group] for group in estimated]


def _weighted(advantage: Advantage, weight: float) -> Advantage:
    """Only what is above 0 multiplied by `weight`."""
    if isinstance(advantage, np.ndarray):
        return np.where(advantage > 0, advantage * weight, advantage)
    return advantage * weight if advantage > 0 else advantage
