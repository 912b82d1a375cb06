"""Logs of servers, which may run for weeks and be replaced often: neither their size nor their number is unbounded."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LARGEST, KEPT = 16 << 20, 1 << 20  # bytes of a log, and of the end that is kept of one that has grown larger
MOST = 4  # logs of servers that followed each other in one place

_CUT = b"... what stood before is cut off\n"


def shorten_log(log: Path) -> None:
    """Cut a log that has grown too large down to its end. Whoever has it open for appending goes on writing there."""
    with contextlib.suppress(OSError):
        if log.stat().st_size <= LARGEST:
            return
        with log.open("rb") as file:
            file.seek(-KEPT, os.SEEK_END)
            end = file.read(KEPT).partition(b"\n")[2]
        os.truncate(log, 0)
        with log.open("ab") as file:
            file.write(_CUT + end)


def remove_old_logs(directory: Path, name: str) -> None:
    """Make room for the log of server `name` (`server-2.7`): the newest of the same place (`server-2`) are kept."""
    place = name.partition(".")[0]
    with contextlib.suppress(OSError):
        logs = [*directory.glob(f"{place}.log"), *directory.glob(f"{place}.*.log")]
        others = sorted((each for each in logs if each.name != f"{name}.log"), key=lambda each: each.stat().st_mtime)
        for each in others[: max(0, len(others) - MOST + 1)]:
            each.unlink()
