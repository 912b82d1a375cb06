"""Rows of data files judged by what they bring themselves: the reference as an answer, and the worked solution.

A row whose own solution fails teaches nothing, or the wrong thing. Answers are scored by the real pool, because some
judges can hang on what files hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks.registry import create
from prorl_mega.tasks.row_task import RowTask
from prorl_mega.types import Outcome
from prorl_mega.verifiers.pool import VerifierPool

ENTRY = "file"  # name of the only entry of the mixture that is made here
FULL = 1 - 1e-6
TOGETHER = 256  # answers that are scored at a time


@dataclass(kw_only=True, slots=True, frozen=True)
class JudgedRow:
    """One answer that a row brings; `what` is "reference" or "solution", empty for a row that brings none."""

    place: str
    what: str
    complaint: str = ""  # empty: it earns the full reward

    @property
    def kind(self) -> str:
        return f"the {self.what} fails"


def row_task(name: str, **options: Any) -> RowTask:
    """A task that reads files, with its default settings but for `options`."""
    task = create(name, ENTRY, options)
    assert isinstance(task, RowTask)
    return task


def judged_rows(name: str, options: dict[str, Any], workers: int) -> Iterator[JudgedRow]:
    """Each row with the answers that it brings, scored by the task `name` with `options`."""
    task = row_task(name, **options)
    settings = TasksConfig(mixture={ENTRY: TaskConfig(name=name, options=options)}, workers=workers)
    task.load()
    with VerifierPool(settings) as pool:
        posed = task.in_order()
        while rows := list(islice(posed, TOGETHER)):
            brought = [(place, problem, task.own_answers(problem)) for place, problem in rows]
            asked = [(place, what, problem, text) for place, problem, own in brought for what, text in own.items()]
            yield from (JudgedRow(place=place, what="") for place, _, own in brought if not own)
            verdicts = pool.score([(problem, text) for _, _, problem, text in asked])
            for (place, what, _, text), verdict in zip(asked, verdicts, strict=True):
                said = verdict.detail or "no reason given"
                is_right = verdict.outcome is Outcome.SCORED and verdict.reward >= FULL
                shown = text if what == "reference" else "..." + text[-60:]
                detail = "" if is_right else f"reward {verdict.reward:g} ({said}) for {shown!r:.100}"
                yield JudgedRow(place=place, what=what, complaint=detail)
