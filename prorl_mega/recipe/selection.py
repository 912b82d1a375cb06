"""Dynamic sampling: which groups can teach something (DAPO, arXiv 2503.14476; ProRL, arXiv 2505.24864)."""

from __future__ import annotations

from collections import Counter

from prorl_mega.types import Group

SAME = 1e-6  # rewards in [0, 1] closer than this are equal
ALL_CORRECT = "all_correct"
ALL_WRONG = "all_wrong"
ALL_EQUAL = "all_equal"  # the same partial credit
TOO_FEW_SCORED = "too_few_scored"  # infrastructure errors left fewer than two rewards


def why_uninformative(rewards: list[float]) -> str | None:
    """Why a group with these rewards has no advantage to learn from; None when it has one."""
    if len(rewards) < 2:
        return TOO_FEW_SCORED
    low, high = min(rewards), max(rewards)
    if high - low > SAME:
        return None
    if low >= 1 - SAME:
        return ALL_CORRECT
    return ALL_WRONG if high <= SAME else ALL_EQUAL


def keep_informative(groups: list[Group]) -> tuple[list[Group], Counter[str]]:
    """The groups whose rewards differ, in order, and how many were left out for which reason."""
    kept: list[Group] = []
    dropped: Counter[str] = Counter()
    for group in groups:
        reason = why_uninformative(group.rewards())
        if reason is None:
            kept.append(group)
        else:
            dropped[reason] += 1
    return kept, dropped
