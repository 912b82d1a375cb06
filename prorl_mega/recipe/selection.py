"""Dynamic sampling: which groups are trained on (DAPO, arXiv 2503.14476; ProRL, arXiv 2505.24864).

Raw verdicts decide: shaped rewards of an all-wrong group may differ by length alone, and such a group teaches only
to be short. The papers drop accuracies of 0 and 1; for partial credit the generalisation is "no spread". A narrower
band of pass rates (`pass_rate_min`, `pass_rate_max`) leaves out more; pass rate means the mean verdict.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from prorl_mega.config.recipe import RecipeConfig
from prorl_mega.recipe.train_samples import is_trained
from prorl_mega.types import Group

SAME = 1e-6  # rewards in [0, 1] closer than this are equal
ALL_CORRECT = "all_correct"
ALL_WRONG = "all_wrong"
ALL_EQUAL = "all_equal"  # the same partial credit
TOO_FEW_SCORED = "too_few_scored"  # infrastructure errors left fewer than two rewards
TOO_EASY = "too_easy"  # outside the band of pass rates
TOO_HARD = "too_hard"
ALL_TRUNCATED = "all_cut_off"  # its name in metrics; over-long filtering leaves nothing to train on


def why_uninformative(rewards: list[float]) -> str | None:
    """Why a group with these rewards has no spread to learn from; None when it has one."""
    if len(rewards) < 2:
        return TOO_FEW_SCORED
    low, high = min(rewards), max(rewards)
    if high - low > SAME:
        return None
    if low >= 1 - SAME:
        return ALL_CORRECT
    return ALL_WRONG if high <= SAME else ALL_EQUAL


def why_dropped(group: Group, recipe: RecipeConfig) -> str | None:
    """Why a group is not trained on; None when it is."""
    rewards = group.rewards()
    if not recipe.selection.keep_uniform_groups and (reason := why_uninformative(rewards)):
        return reason
    if not rewards:
        return TOO_FEW_SCORED
    mean = min(1.0, max(0.0, float(np.mean(rewards))))  # a task may give more than 1 and less than 0
    if mean > recipe.selection.pass_rate_max + SAME:
        return TOO_EASY
    if mean < recipe.selection.pass_rate_min - SAME:
        return TOO_HARD
    if not any(is_trained(sample, recipe) for sample in group.scored()):
        return ALL_TRUNCATED
    return None


def keep_informative(groups: list[Group], recipe: RecipeConfig) -> tuple[list[Group], Counter[str]]:
    """The groups to train on, in order, and how many were left out by reason."""
    kept: list[Group] = []
    dropped: Counter[str] = Counter()
    for group in groups:
        reason = why_dropped(group, recipe)
        if reason is None:
            kept.append(group)
        else:
            dropped[reason] += 1
    return kept, dropped
