"""Panels that open for a step of a run, its decisions and the answers kept of it, and for an alarm, with those behind
it; for as many of them as fit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prorl_mega.config.schedule import ALARMS
from prorl_mega.reporting import kit
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.timeline import TimelineEntry
from prorl_mega.run.jsonl import read_objects
from prorl_mega.run.metrics import is_number
from prorl_mega.run.samples import BEHIND

PREFIX = "step-"
CHARACTERS, LONGEST = 1_800_000, 2400
MOST_STEPS = 120  # with answers
NEWEST = 20  # steps whose answers are searched for the newest right and the worst ones
MOST_LISTED = 12
SOLVED = 1 - 1e-6


class ListedAnswer(NamedTuple):
    """A kept answer in a list of the page; `id` is that of its panel."""

    id: str
    step: int
    task: str
    key: str
    says: str
    tone: str


class KeptSamples:
    """The folder `samples/` of a run: `steps` that have a file, in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        names = (re.fullmatch(r"step_([0-9]{1,10})\.jsonl", path.name) for path in directory.glob("step_*.jsonl"))
        self.steps = sorted(int(match[1]) for match in names if match)

    def rows(self, step: int) -> list[dict[str, Any]]:
        return list(read_objects(self._directory / f"step_{step:06d}.jsonl"))


def step_panels(samples: KeptSamples, entries: list[TimelineEntry]) -> dict[str, Any]:
    """Panels by id. The numbers of a step are added by the page, from its charts."""
    parts: dict[int, list[kit.Part]] = defaultdict(list)
    for entry in entries:
        parts[entry.step].append(kit.text(f"{entry.word}: {entry.text}"))
    budget, decided = AnswerBudget(CHARACTERS, LONGEST), {entry.step for entry in entries}
    for step in list(_in_turn(samples.steps, decided))[:MOST_STEPS]:
        if budget.left <= 0:
            break
        for row in samples.rows(step):
            parts[step] += answer_parts(row, budget)
    return {f"{PREFIX}{step}": kit.panel(f"step {step}", each) for step, each in sorted(parts.items())}


def alarm_panels(samples: KeptSamples, entries: list[TimelineEntry]) -> dict[str, Any]:
    """A panel for each alarm that was raised, by id: why, and the answers behind it. The newest have theirs first."""
    raised = [each for each in entries if each.alarm]
    budget, panels = AnswerBudget(CHARACTERS, LONGEST), {}
    for entry in reversed(raised):
        parts = [kit.text(entry.text)]
        for row in samples.rows(entry.step):
            if entry.trigger in behind(row):
                parts += answer_parts(row, budget)
        if len(parts) == 1:
            parts.append(kit.text("This page has no answers behind it; samples/ beside it has those that were kept."))
        panels[entry.alarm] = kit.panel(
            f"alarm {entry.trigger}, step {entry.step}",
            [*parts, kit.opens(f"{PREFIX}{entry.step}", f"step {entry.step}")],
        )
    return panels


def answer_lists(samples: KeptSamples) -> tuple[list[ListedAnswer], list[ListedAnswer], dict[str, Any]]:
    """The newest answers with full marks, the worst of the newest steps, and their panels by id."""
    rows = [(step, row) for step in reversed(samples.steps[-NEWEST:]) for row in samples.rows(step)]
    scored = [(step, row) for step, row in rows if is_number(row.get("reward"))]
    solved = [each for each in scored if each[1]["reward"] >= SOLVED][:MOST_LISTED]
    worst = sorted((each for each in scored if each[1]["reward"] < SOLVED), key=lambda each: each[1]["reward"])
    panels, lists = {}, []
    for name, chosen in (("solved", solved), ("worst", worst[:MOST_LISTED])):
        listed = []
        for number, (step, row) in enumerate(chosen):
            says, tone = _verdict(row)
            one = ListedAnswer(f"{name}-{number}", step, str(row.get("task", "")), str(row.get("key", "")), says, tone)
            parts = [
                *answer_parts(row, AnswerBudget(4 * LONGEST, LONGEST)),
                kit.opens(f"{PREFIX}{step}", f"step {step}"),
            ]
            panels[one.id] = kit.panel(
                f"{one.key}, step {step}", parts, before=f"{name}-{number - 1}" if number else "",
                after=f"{name}-{number + 1}" if number + 1 < len(chosen) else "",
            )  # fmt: skip
            listed.append(one)
        lists.append(listed)
    return lists[0], lists[1], panels


def answer_parts(row: dict[str, Any], budget: AnswerBudget) -> list[kit.Part]:
    """A kept answer with its problem; nothing when the budget is used up."""
    prompt, completion = budget.take(str(row.get("prompt", ""))), budget.take(str(row.get("completion", "")))
    if not completion and not prompt:
        return []
    says, tone = _verdict(row)
    length = f", {row['tokens']} tokens" if isinstance(row.get("tokens"), int) else ""
    cut = ", cut off" if row.get("truncated") is True else ""
    alarms = f", behind the alarm {', '.join(names)}" if (names := behind(row)) else ""
    return [
        kit.pre(prompt, f"{row.get('task', '')} · {row.get('key', '')}"[:300]),
        kit.pre(completion, f"answer{length}{cut}{alarms}", says, tone),
    ]


def behind(row: dict[str, Any]) -> list[str]:
    """The alarms that a kept answer is evidence for."""
    names = row.get(BEHIND)
    return [name for name in ALARMS if isinstance(names, list) and name in names]


def _verdict(row: dict[str, Any]) -> tuple[str, str]:
    reward = row.get("reward")
    if reward is None or not is_number(reward):
        return "not scored", ""
    return f"reward {reward:.2f}", "good" if reward >= SOLVED else "bad" if reward <= 0 else ""


def _in_turn(steps: list[int], decided: set[int]) -> Iterator[int]:
    """Steps in the order of their worth: the newest, the first, those with decisions, and then spread evenly."""
    seen: set[int] = set()
    parts = [(2 * place + 1, 2**depth) for depth in range(1, 9) for place in range(2 ** (depth - 1))]  # 1/2, 1/4, 3/4 …
    spread = [steps[part * len(steps) // whole] for part, whole in parts if steps]
    for step in (*steps[: -NEWEST - 1 : -1], *steps[:1], *(each for each in steps if each in decided), *spread):
        if step not in seen:
            seen.add(step)
            yield step
