"""Answers before and after training, for people to read: the same problem by the base and by the trained policy."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prorl_mega.evaluation.conditions import incomparable
from prorl_mega.reporting.history import History
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.metrics import is_number

MOST_PAIRS = 6  # problems that are shown
Pair = tuple[dict[str, Any], list[tuple[str, str]]]
"""A problem ("task", "key", "prompt") and its answers, each under a caption."""


def answer_pairs(history: History) -> list[Pair]:
    """Held-out problems answered before and after; without them, answers of the first and of the last step."""
    return (_evaluated_pairs(history) or _sampled_pairs(history))[:MOST_PAIRS]


def _evaluated_pairs(history: History) -> list[Pair]:
    """The problems that both policies have answered, different tasks first."""
    if BASE not in history.evaluations or FINAL not in history.evaluations:
        return []
    after = {problem["key"]: problem for problem in history.evaluations[FINAL]["problems"]}
    labels = [(BASE, "base"), (FINAL, "trained")]
    if incomparable(*(history.evaluations[label]["settings"] for label, _ in labels)):
        labels = [(label, f"{who} (under other settings)") for label, who in labels]
    turn: Counter[str] = Counter()
    ranked: list[tuple[int, Pair]] = []
    for problem in history.evaluations[BASE]["problems"]:
        trained = after.get(problem["key"], {})
        if "completion" in problem and "completion" in trained:
            sides = [
                (f"{who}, {each['solved']} of {each['samples']} right", str(each["completion"]))
                for (_, who), each in zip(labels, (problem, trained), strict=True)
            ]
            turn[str(problem["task"])] += 1
            ranked.append((turn[str(problem["task"])], (problem, sides)))
    return [pair for _, pair in sorted(ranked, key=lambda each: each[0])]


def _sampled_pairs(history: History) -> list[Pair]:
    pairs: list[Pair] = []
    for step, rows in history.samples.items():
        for row in rows[: MOST_PAIRS // 2]:
            reward = row.get("reward")
            side = f"step {step}, " + (f"reward {reward:.2f}" if is_number(reward) else "not scored")
            pairs.append((row, [(side, str(row.get("completion", "")))]))
    return pairs
