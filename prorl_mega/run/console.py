"""The console of a run: one line per step and, at every moment, the current phase. The same lines go to `console.log`.

On a terminal the current phase ticks on the last line. Elsewhere (a file, a scheduler's log) lines are only added:
one when a set-up phase begins, one when it ends, and one when nothing has been printed for a minute.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from prorl_mega.run.pulse import beat

QUIET_S = 60.0  # longest silence of a console that is not a terminal
_CLEAR = "\r\x1b[2K"


class Console:
    """Lines on `stream` and in a log file. With `path` None (all ranks but the first) it prints nothing."""

    def __init__(self, path: Path | None, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._log = path.open("a", encoding="utf-8") if path is not None else None
        self._live = path is not None and self._stream.isatty()
        self._status = ""
        self._since = time.monotonic()
        self._last_line = time.monotonic()
        self._lock = threading.RLock()  # a line and the ticking status must not mix
        self._closed = threading.Event()
        if path is not None:
            threading.Thread(target=self._tick, name="console", daemon=True).start()

    def line(self, text: str) -> None:
        """Print a line, above the status if there is one."""
        if self._log is None:
            return
        with self._lock:
            self._write((_CLEAR if self._live and self._status else "") + printable(text) + "\n")
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(text)}\n")
            self._log.flush()
            self._last_line = time.monotonic()
            self._draw()

    def status(self, text: str) -> None:
        """Set the current phase and count its seconds. An empty text ends it."""
        beat()
        with self._lock:
            if self._live and self._status and not text:
                self._write(_CLEAR)
            self._status, self._since = text, time.monotonic()
            self._draw()

    @property
    def current(self) -> str:
        """The current phase, on every rank; empty between phases."""
        return self._status

    @contextlib.contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """A long step outside the loop, announced when it begins: "starting the engine … 14 s"."""
        if not self._live:
            self.line(f"{text} …")
        self.status(text)
        started = time.monotonic()
        try:
            yield
        finally:
            self.status("")
        self.line(f"{text} … {duration(time.monotonic() - started)}")

    def close(self) -> None:
        self.status("")
        self._closed.set()
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    def _tick(self) -> None:
        while not self._closed.wait(1.0 if self._live else 5.0):
            with self._lock:
                silent = time.monotonic() - self._last_line
                if self._live:
                    self._draw()
                elif self._status and silent >= QUIET_S:
                    self.line(f"  {self._status}, for {duration(time.monotonic() - self._since)} now")

    def _draw(self) -> None:
        if self._live and self._status:
            width = shutil.get_terminal_size().columns - 1
            text = f"{self._status} … {duration(time.monotonic() - self._since)}"
            self._write(_CLEAR + printable(text)[:width])

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe must not end a run
            self._stream.write(text)
            self._stream.flush()


def printable(text: str) -> str:
    """`text` without control characters (except newline and tab), terminal escapes and text-direction overrides.

    Completions come from a model and may contain anything.
    """
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in _UNPRINTABLE)


_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}


def counted(number: int, noun: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """ "0.8 s", "14 s", "1 min 05 s", "2 h 03 min", "3 d 04 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
