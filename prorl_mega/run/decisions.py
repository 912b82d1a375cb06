"""The controller's decisions and the reasons for them: `decisions.jsonl`, one event per line.

    {"step": 140, "trigger": "plateau", "action": "reset", "numbers": {"score": 0.41, "best": 0.42, …},
     "limits": {"patience": 8, "min_delta": 0.0}, "text": "reference reset: evaluation/pass@1=0.41 after …"}

Events of a step are on disk before its row in metrics.jsonl. On resume events beyond the checkpoint are removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prorl_mega.run.jsonl import append_durably, read_rows
from prorl_mega.types import Event

NAME = "decisions.jsonl"


def append_decisions(path: Path, step: int, events: tuple[Event, ...]) -> None:
    """Write the events of a step and force them to disk. Rank 0 only."""
    if events:
        append_durably(path, [to_row(step, event) for event in events])


def to_row(step: int, event: Event) -> dict[str, Any]:
    """The object that `decisions.jsonl` has for an event."""
    return {"step": step} | asdict(event)


def read_decisions(path: Path) -> Iterator[tuple[int, Event]]:
    """Steps and events in order; lines that are not decisions are left out."""
    for row in read_rows(path):
        fields: dict[str, Any] = {name: row.get(name) for name in ("trigger", "action", "numbers", "limits", "text")}
        if isinstance(fields["trigger"], str) and isinstance(fields["action"], str):
            yield row["step"], Event(**fields)
