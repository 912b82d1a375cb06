"""The differences between two sets of verdicts on the same answers: how many flipped each way by task, and examples."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from prorl_mega.evaluation.problem_counts import SOLVED
from prorl_mega.run.console import printable
from prorl_mega.run.sample_store import SampleStore, StoredVerdict

EXAMPLES = 3  # of each kind of change in each task
LONGEST = 60  # characters of a detail that are shown


class Change(StrEnum):
    """The difference between two verdicts on one answer."""

    TO_RIGHT = "wrong → right"
    TO_WRONG = "right → wrong"
    REWARD = "other reward"  # right both times, or wrong both times
    FIRST = "first verdict"
    LOST = "no verdict now"
    NONE = "the same"


@dataclass(slots=True)
class Flip:
    """An example of a change."""

    problem: int
    sample: int
    new: StoredVerdict
    old: StoredVerdict | None = None


@dataclass(slots=True)
class TaskChanges:
    """All changes in one task, with the first few of each kind."""

    counts: Counter[Change] = field(default_factory=Counter)
    examples: dict[Change, list[Flip]] = field(default_factory=dict)


def changes(store: SampleStore, old: str, new: str) -> dict[str, TaskChanges]:
    """The changes by task between the verdicts in two folders of a store. A reward per answer is held in memory."""
    problems = store.problems()
    rewards = [array("f") for _ in problems]  # of the old verdicts, by problem and sample; NaN: none
    for verdict in store.verdicts(old):
        if verdict.problem < len(problems) and verdict.reward is not None:
            _put(rewards[verdict.problem], verdict.sample, verdict.reward)
    found: dict[str, TaskChanges] = {}
    flips: dict[tuple[int, int], Flip] = {}
    for verdict in store.verdicts(new):
        if verdict.problem >= len(problems):
            continue
        task = found.setdefault(problems[verdict.problem].task, TaskChanges())
        known = rewards[verdict.problem]
        change = _change(known[verdict.sample] if verdict.sample < len(known) else math.nan, verdict.reward)
        task.counts[change] += 1
        examples = task.examples.setdefault(change, [])
        if change is not Change.NONE and change is not Change.FIRST and len(examples) < EXAMPLES:
            flip = Flip(verdict.problem, verdict.sample, verdict)
            examples.append(flip)
            flips[flip.problem, flip.sample] = flip
    for verdict in store.verdicts(old) if flips else ():
        if example := flips.get((verdict.problem, verdict.sample)):
            example.old = verdict
    return dict(sorted(found.items()))


def change_lines(found: dict[str, TaskChanges], keys: list[str]) -> Iterator[str]:
    """The changes as text: a line per task and the examples; `keys` are those of the problems, by number."""
    for task, each in found.items():
        total = each.counts.total()
        parts = [f"{each.counts[change]:,} {change}" for change in Change if each.counts[change]]
        yield f"{printable(task)}: {total:,} answers: {', '.join(parts)}"
        for change, flips in each.examples.items():
            for flip in flips:
                place = f"{printable(keys[flip.problem])} sample {flip.sample}"
                yield f"  {change}: {place}: {_shown(flip.old)} → {_shown(flip.new)}"


def _put(values: array[float], place: int, value: float) -> None:
    if place >= len(values):
        values.extend([math.nan] * (place + 1 - len(values)))
    values[place] = value


def _change(old: float, new: float | None) -> Change:
    if math.isnan(old):
        return Change.NONE if new is None else Change.FIRST
    if new is None:
        return Change.LOST
    if (old >= SOLVED) != (new >= SOLVED):
        return Change.TO_RIGHT if new >= SOLVED else Change.TO_WRONG
    return Change.NONE if math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-6) else Change.REWARD


def _shown(verdict: StoredVerdict | None) -> str:
    if verdict is None or verdict.reward is None:
        return f"none ({printable((verdict.detail if verdict else '')[:LONGEST])})"
    return f"{verdict.reward:g} ({printable(verdict.detail[:LONGEST])})" if verdict.detail else f"{verdict.reward:g}"
