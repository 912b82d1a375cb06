"""How the last job of a run ended: `run_summary.json`, one object, for schedulers and for people in a hurry."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from prorl_mega.documents import BrokenDocumentError, read_json
from prorl_mega.errors import ExitCode, ProRLError

SUMMARY = "run_summary.json"
_NAMES = {int(each): each.name for each in ExitCode}
CRASHED = 1
"""Python's exit code for an exception that nobody has foreseen."""


def remove_summary(directory: Path) -> None:
    """Forget how the job before has ended. Rank 0 only."""
    (directory / SUMMARY).unlink(missing_ok=True)


def write_summary(directory: Path, code: int, cause: str, *, step: int | None, rank: int) -> None:
    """Say how this job ends, unless another of its ranks has: the first cause counts, and the others follow from it.

    Called in the last moments of a process; what cannot be written is left unwritten.
    """
    words = {
        "exit_code": int(code),
        "name": _NAMES.get(int(code), "CRASHED"),
        "cause": " ".join(cause.split())[:1000],
        "step": step,  # of the last checkpoint; None: not known
        "rank": rank,
        "time": time.time(),  # seconds since 1970
    }
    aside = directory / f"{SUMMARY}.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
        try:
            os.link(aside, directory / SUMMARY)  # fails if there is one
        finally:
            aside.unlink(missing_ok=True)


def read_summary(directory: Path) -> dict[str, Any]:
    """The summary, {} without a usable one."""
    try:
        found = read_json(directory / SUMMARY)
    except (OSError, BrokenDocumentError):
        return {}
    kinds = {"exit_code": int, "cause": str, "time": float}
    is_one = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    return found if is_one else {}


def told_by(error: BaseException) -> tuple[int, str]:
    """The exit code of an exception that ends a process, and its cause in words."""
    if isinstance(error, ProRLError):
        return int(error.exit_code), str(error)
    return CRASHED, f"{type(error).__name__}: {error}"
