"""From rewards to advantages, one number per sample.

An estimator gets the rewards of all groups of a step at once, because some normalise over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from prorl_mega.config.schema import AdvantageKind

EPSILON = 1e-6  # rewards are in [0, 1]: far below the smallest spread of a group that is kept


def _grpo(rewards: list[np.ndarray]) -> list[np.ndarray]:
    """A_i = (R_i − mean R) / (std R + ε) within the group (GRPO, arXiv 2402.03300; ProRL eq. 2, arXiv 2505.24864).

    std is the sample standard deviation (n − 1): the papers leave it open, and the trainer that ProRL was run with
    takes this one. With 16 samples, advantages are 3 % smaller than with the population's.
    """
    return [_normalised(group) for group in rewards]


def _normalised(group: np.ndarray) -> np.ndarray:
    if len(group) < 2 or np.ptp(group) == 0:
        return np.zeros_like(group)  # exactly: the rounding of the mean must not become a signal
    return (group - group.mean()) / (group.std(ddof=1) + EPSILON)


ESTIMATORS: dict[AdvantageKind, Callable[[list[np.ndarray]], list[np.ndarray]]] = {AdvantageKind.grpo: _grpo}


def advantages(rewards: Sequence[Sequence[float]], kind: AdvantageKind) -> list[np.ndarray]:
    """Advantages of every group, `[samples]` float64 each, in the order of `rewards` `[groups][samples]`.

    Samples without a reward (infrastructure errors) must have been left out. A group with fewer than two samples or
    without spread gets zeros.
    """
    return ESTIMATORS[kind]([np.asarray(group, dtype=np.float64) for group in rewards])
