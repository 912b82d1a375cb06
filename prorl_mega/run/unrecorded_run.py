"""A job that leaves nothing on disk: its lines go to the console alone, and a signal ends it soon."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.console import Console
from prorl_mega.run.signals import StopSignals


class UnrecordedRun(contextlib.AbstractContextManager["UnrecordedRun"]):
    """`protocols.Surroundings` of a program that looks at something. Leaving it gives the signals back."""

    saved_state: dict[str, Any] | None = None  # always a fresh start
    directory: Path | None = None

    def __init__(self, ranks: Ranks) -> None:
        self._console = Console(Path(os.devnull) if ranks.is_first else None)
        self._signals = StopSignals(announce=False)  # which promises to keep what is finished, and nothing is
        self._signals.install()

    def __exit__(self, *exception: object) -> None:
        self._signals.restore()
        self._console.close()

    def message(self, text: str) -> None:
        """Print a line. On rank 0 only; not collective."""
        self._console.line(text)

    def phase(self, text: str) -> contextlib.AbstractContextManager[None]:
        """A part of the set-up, announced and timed. Not collective."""
        return self._console.phase(text)

    def is_stopping(self) -> bool:
        """Whether this rank has got a signal to stop. Cheap, and not collective."""
        return self._signals.received is not None
