"""Files of JSON lines that a run adds to, one object per line, and that survive a crash in the middle of a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prorl_mega.run.storage import storage_errors, write_durably


def to_lines(rows: Iterable[dict[str, Any]], *, readable: bool = False) -> str:
    """One line per row. `readable` leaves letters beyond ASCII as they are. Raises ValueError for NaN and infinity."""
    return "".join(json.dumps(row, ensure_ascii=not readable, allow_nan=False) + "\n" for row in rows)


def append_durably(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add rows and force them to the disk."""
    with storage_errors(f"writing {path}"), path.open("a", encoding="utf-8") as file:
        file.write(to_lines(rows))
        file.flush()
        os.fsync(file.fileno())


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in order, none without a file; damaged or half-written lines are left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line, parse_constant=lambda name: None)  # NaN is no JSON
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects that carry the number of a step."""
    return (row for row in read_objects(path) if isinstance(row.get("step"), int))


def cut_after(path: Path, step: int) -> dict[str, Any]:
    """Drop the rows beyond `step`, and a last line that a crash has left unfinished. Returns the last row kept."""
    rows = [row for row in read_rows(path) if row["step"] <= step]
    with storage_errors(f"writing {path}"):
        write_durably(path, to_lines(rows))
    return rows[-1] if rows else {}
