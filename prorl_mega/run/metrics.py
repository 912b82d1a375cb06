"""Numbers of a step on disk: one JSON object per line, `{"step": 12, "reward/mean": 0.53, …}`.

A row is on disk before the checkpoint of its step is begun. On resume the rows beyond the checkpoint are removed, so
steps rise by one without gaps or repetitions, whatever was killed when. A value that is not finite is written as null.
"""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from prorl_mega.run.jsonl import append_durably, cut_after
from prorl_mega.types import Metrics

METRICS = "metrics.jsonl"
MEMORY_PREFIX = "memory/"  # like timings, not reproducible


def append_metrics(path: Path, step: int, metrics: Metrics) -> None:
    """Add the row of a step and force it to the disk. Rank 0 only."""
    row = {name: float(value) if math.isfinite(value) else None for name, value in sorted(metrics.items())}
    append_durably(path, [{"step": step} | row])


def cut_metrics(path: Path, step: int) -> Metrics:
    """Drop the rows beyond `step`, and a last line that a crash has left unfinished. Returns the last row kept."""
    last = cut_after(path, step)
    return {name: float(value) for name, value in last.items() if value is not None and name != "step"}


def memory() -> Metrics:
    """Resident memory of this rank's process, MiB; verifier processes are not counted. Shows a leak long before it
    ends a run."""
    return {f"{MEMORY_PREFIX}resident_mib": psutil.Process().memory_info().rss / 2**20}


def mean_of_additions(additions: list[Metrics]) -> Metrics:
    """Metrics added several times in a step (one optimizer step each) are averaged, in order of addition."""
    values: dict[str, list[float]] = {}
    for metrics in additions:
        for name, value in metrics.items():
            values.setdefault(name, []).append(float(value))
    return {name: each[0] if len(each) == 1 else math.fsum(each) / len(each) for name, each in values.items()}
