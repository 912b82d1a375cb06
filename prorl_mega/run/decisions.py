"""What the controller decided and why: `decisions.jsonl`, one event per line.

    {"step": 140, "trigger": "plateau", "action": "reset", "numbers": {"score": 0.41, "best": 0.42, …},
     "limits": {"patience": 8, "min_delta": 0.0}, "text": "reference reset: evaluation/pass@1=0.41 after …"}

Events of a step are on disk before its row in metrics.jsonl. On resume what lies beyond the checkpoint is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prorl_mega.run.metrics import read_rows
from prorl_mega.run.storage import storage_errors, write_durably
from prorl_mega.types import Event

NAME = "decisions.jsonl"


class DecisionsFile:
    """`decisions.jsonl` of a run. Only rank 0 has one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, step: int, events: tuple[Event, ...]) -> None:
        """Write the events of a step and force them to disk."""
        if not events:
            return
        with storage_errors(f"writing {self._path}"), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(to_line(step, event) for event in events))
            file.flush()
            os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Drop what lies beyond `step`, and a last line that a crash has left unfinished."""
        rows = [row for row in read_rows(self._path) if row["step"] <= step]
        with storage_errors(f"writing {self._path}"):
            write_durably(self._path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def to_line(step: int, event: Event) -> str:
    return json.dumps({"step": step} | asdict(event), allow_nan=False) + "\n"


def read_decisions(path: Path) -> Iterator[tuple[int, Event]]:
    """Steps and events in order; lines that are none are left out."""
    for row in read_rows(path):
        fields: dict[str, Any] = {name: row.get(name) for name in ("trigger", "action", "numbers", "limits", "text")}
        if isinstance(fields["trigger"], str) and isinstance(fields["action"], str):
            yield row["step"], Event(**fields)
