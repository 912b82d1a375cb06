"""Files of JSON lines that a run adds to, one object per line, and that survive a crash in the middle of a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.run.storage import storage_errors, write_durably

LONGEST_LINE = 16 << 20  # characters
LATEST_STEP = 2**31 - 1  # settings allow no more steps


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
    return (row for row in read_lines(path) if row is not None)


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The object of every line in order; None for one that is damaged or half-written."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(LONGEST_LINE):
            try:
                row = parse_json(line)
            except BrokenDocumentError:
                row = None
            yield row if isinstance(row, dict) else None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects that carry the number of a step."""
    return (row for row in read_objects(path) if has_step(row))


def has_step(row: dict[str, Any]) -> bool:
    return type(row.get("step")) is int and 0 <= row["step"] <= LATEST_STEP


def replace_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file anew with these rows."""
    with storage_errors(f"writing {path}"):
        write_durably(path, to_lines(rows))
