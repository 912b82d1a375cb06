"""The trained policy compared with the base on the same held-out problems, per task, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap_rows, passes

ALL_TASKS = "all tasks"

Record = dict[str, Any]
"""A problem as `problem_records` describes it: "key", "task", "samples", "solved", …"""


@dataclass(kw_only=True, slots=True, frozen=True)
class Comparison:
    """One task at one k. `gain` is trained minus base, resampled in pairs."""

    task: str
    k: int
    problems: int
    base: Estimate
    trained: Estimate
    gain: Estimate


def compare(base: list[Record], trained: list[Record]) -> list[Comparison]:
    """pass@1 and pass@k, k the most samples of a problem, for all tasks together and for each task.

    Only problems that both evaluations contain, with at least k samples in both, count; the list is empty without any.
    """
    trained_by_key = {record["key"]: record for record in trained}
    pairs = [(record, trained_by_key[record["key"]]) for record in base if record["key"] in trained_by_key]
    most = max((_fewest(pair) for pair in pairs), default=0)
    tasks = sorted({str(record["task"]) for record, _ in pairs})
    rows = []
    for task in [ALL_TASKS, *tasks] if len(tasks) > 1 else tasks:
        for k in dict.fromkeys((1, most)):
            chosen = [pair for pair in pairs if task in (ALL_TASKS, pair[0]["task"]) and _fewest(pair) >= k > 0]
            if chosen:
                rows.append(_comparison(task, k, chosen))
    return rows


def _comparison(task: str, k: int, pairs: list[tuple[Record, Record]]) -> Comparison:
    before = passes([(record["samples"], record["solved"]) for record, _ in pairs], k)
    after = passes([(record["samples"], record["solved"]) for _, record in pairs], k)
    base, trained, gain = bootstrap_rows(np.vstack([before, after, after - before]))
    return Comparison(task=task, k=k, problems=len(pairs), base=base, trained=trained, gain=gain)


def _fewest(pair: tuple[Record, Record]) -> int:
    return min(int(record["samples"]) for record in pair)
