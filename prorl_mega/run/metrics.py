"""Numbers of a step on disk: one JSON object per line, `{"step": 12, "reward/mean": 0.53, …}`.

A row is on disk before the checkpoint of its step is begun. On resume the rows beyond the checkpoint are removed, so
steps rise by one without gaps or repetitions, whatever was killed when. A value that is not finite is written as null.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from prorl_mega.documents import brief
from prorl_mega.errors import DataError
from prorl_mega.run.jsonl import append_durably, has_step, read_lines, replace_rows
from prorl_mega.types import Metrics

METRICS = "metrics.jsonl"
RESETS = "reference/resets"  # since the run began
_LARGEST = 1.7e308  # that a float can hold


def append_metrics(path: Path, step: int, metrics: Metrics) -> None:
    """Add the row of a step and force it to the disk. Rank 0 only."""
    row = {name: float(value) if math.isfinite(value) else None for name, value in sorted(metrics.items())}
    append_durably(path, [{"step": step} | row])


def cut_metrics(path: Path, step: int) -> Metrics:
    """Drop the rows beyond `step`, and a last line that a crash has left unfinished. Returns the last row kept.

    Raises DataError that names the first line among those to be kept which is not what `append_metrics` writes.
    """
    lines = list(enumerate(read_lines(path), start=1))
    kept = [(number, row) for number, row in lines if row is not None and has_step(row) and row["step"] <= step]
    before = -1
    for number, row in lines[: kept[-1][0] if kept else 0]:
        if fault := _fault(row, before):
            raise DataError(f"{path}:{number}: {fault}; put the file back as it was, or remove the line")
        assert row is not None
        before = row["step"]
    rows = [row for _, row in kept]
    replace_rows(path, rows)
    last = rows[-1] if rows else {}
    return {name: float(value) for name, value in last.items() if value is not None and name != "step"}


def is_number(value: Any) -> bool:
    """Whether a value of a row can be one of a metric."""
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _fault(row: dict[str, Any] | None, before: int) -> str:
    """Why a line is no row of numbers that can follow the one of step `before`; empty if it is."""
    if row is None or not has_step(row):
        return "not a row of a step"
    if row["step"] <= before:
        return f"step {row['step']} after step {before}; steps rise"
    for name, value in row.items():
        if value is not None and not is_number(value):
            return f"{name}={brief(value)} must be a number or null"
    resets = row.get(RESETS)
    if resets is not None and not (0 <= resets <= row["step"] and resets == int(resets)):
        return f"{RESETS}={brief(resets)} must be a number of resets in {row['step']} steps"
    return ""


def mean_of_additions(additions: list[Metrics]) -> Metrics:
    """Metrics added several times in a step (one optimizer step each) are averaged, in order of addition."""
    values: dict[str, list[float]] = {}
    for metrics in additions:
        for name, value in metrics.items():
            values.setdefault(name, []).append(float(value))
    return {name: each[0] if len(each) == 1 else math.fsum(each) / len(each) for name, each in values.items()}
