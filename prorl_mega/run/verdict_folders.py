"""The verdicts of an evaluation and those that they have replaced: the folders `verdicts/`, `verdicts.1/` and so on.

Answers are judged again into `verdicts.new/`, where whoever goes on after a crash finds what is done. When all are
there the folder gets the next number and then swaps names with `verdicts/`: a reader sees the old verdicts or the new
ones, at any moment. A folder says in `about.json` how many times its answers had been judged, so that a crash between
the two renames is told from what it looks like, and the swap is made up for. The first verdicts say nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from prorl_mega.run.sample_store import VERDICTS
from prorl_mega.run.storage import exchange, fsync_path, remove_tree, storage_errors, write_durably

NEW, ASIDE = f"{VERDICTS}.new", f"{VERDICTS}.aside"
ABOUT = "about.json"


class AboutVerdicts(msgspec.Struct, kw_only=True):
    """A folder's own description."""

    generation: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0  # times that the answers had been judged before
    judges: str = ""  # a hash of the verifiers and their settings


class VerdictFolders:
    """The folders of one evaluation, for one process that judges again."""

    def __init__(self, directory: Path) -> None:
        """Look at what is there, and finish a replacement that was interrupted."""
        self._directory = directory
        self._current, self._new = directory / VERDICTS, directory / NEW
        with storage_errors(f"writing {directory}"):
            self._recover()

    def begin(self, judges: str) -> bool:
        """Make the folder for new verdicts, and give up what other judges have left in it. Whether there is something
        to go on with."""
        with storage_errors(f"writing {self._new}"):
            if self._new.exists() and _about(self._new).judges != judges:
                remove_tree(self._new)
            if self._new.exists():
                return True
            self._new.mkdir()
            about = AboutVerdicts(generation=_about(self._current).generation + 1, judges=judges)
            write_durably(self._new / ABOUT, msgspec.json.encode(about).decode() + "\n")
        return False

    def publish(self) -> str:
        """Replace the verdicts by the new ones. Returns the name of the folder that keeps the old ones, "" without."""
        with storage_errors(f"replacing {self._current}"):
            if not self._current.exists():
                os.replace(self._new, self._current)
                fsync_path(self._directory)
                return ""
            kept = self._numbered(self._next_number())
            os.replace(self._new, kept)
            fsync_path(self._directory)
            self._swap(kept)
            return kept.name

    def _swap(self, other: Path) -> None:
        if exchange(self._current, other):
            return
        aside = self._directory / ASIDE
        os.replace(self._current, aside)
        os.replace(other, self._current)
        os.replace(aside, other)
        fsync_path(self._directory)

    def _recover(self) -> None:
        aside = self._directory / ASIDE
        if aside.exists():
            os.replace(aside, self._current if not self._current.exists() else self._numbered(self._next_number()))
        last = self._numbered(self._next_number() - 1)
        if last.exists() and _about(last).generation > _about(self._current).generation:
            self._swap(last)

    def _numbered(self, number: int) -> Path:
        return self._directory / f"{VERDICTS}.{number}"

    def _next_number(self) -> int:
        return next(number for number in range(1, 1 << 30) if not self._numbered(number).exists())


def _about(folder: Path) -> AboutVerdicts:
    try:
        return msgspec.json.decode((folder / ABOUT).read_bytes(), type=AboutVerdicts)
    except (OSError, msgspec.DecodeError):
        return AboutVerdicts()
