"""An advantage of your own: `recipe.advantage.estimator=examples/my_advantage.py:maxrl` (arXiv 2602.02710)."""

from __future__ import annotations

import numpy as np

from prorl_mega.config.recipe import AdvantageConfig
from prorl_mega.recipe.advantage import ByGroup, Rewards


def maxrl(rewards: Rewards, settings: AdvantageConfig) -> ByGroup:
    """(R − mean) / mean: the rarer a prompt is solved, the more each solution counts."""

    def estimate(group: np.ndarray) -> np.ndarray:
        if len(group) < 2 or np.ptp(group) == 0 or group.mean() <= 0:
            return np.zeros_like(group)
        return (group - group.mean()) / group.mean()

    return [estimate(group).tolist() for group in rewards.totals()]
