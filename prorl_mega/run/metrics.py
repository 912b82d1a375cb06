"""Numbers of a step on disk: one JSON object per line, `{"step": 12, "reward/mean": 0.53, …}`.

A row is on disk before the checkpoint of its step is begun. On resume the rows beyond the checkpoint are cut off, so
steps rise by one without gaps or repetitions, whatever was killed when. A value that is not finite is written as null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prorl_mega.run.storage import storage_errors, write_durably
from prorl_mega.types import Metrics


class MetricsFile:
    """`metrics.jsonl` of a run. Only rank 0 has one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, step: int, metrics: Metrics) -> None:
        """Add the row of a step and force it to the disk."""
        row = {"step": step} | {name: _finite(value) for name, value in sorted(metrics.items())}
        with storage_errors(f"writing {self._path}"), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def cut(self, step: int) -> Metrics:
        """Drop the rows beyond `step`, and a last line that a crash has left unfinished. Returns the last row kept."""
        rows = [row for row in read_rows(self._path) if row["step"] <= step]
        with storage_errors(f"writing {self._path}"):
            write_durably(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        last = rows[-1] if rows else {}
        return {name: float(value) for name, value in last.items() if value is not None and name != "step"}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics file in order; lines that are not one (half-written, damaged) are left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


def mean_of_additions(additions: list[Metrics]) -> Metrics:
    """Metrics added several times in a step (one optimizer step each) are averaged, in order of addition."""
    values: dict[str, list[float]] = {}
    for metrics in additions:
        for name, value in metrics.items():
            values.setdefault(name, []).append(float(value))
    return {name: each[0] if len(each) == 1 else math.fsum(each) / len(each) for name, each in values.items()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
