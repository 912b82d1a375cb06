"""Requests to stop: a signal from the scheduler or from the keyboard.

The loop asks between steps, and sampling, scoring and evaluations several times a second: they raise `Interrupted`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(Exception):  # noqa: N818 (no error: what was asked for)
    """Work that was given up after a request to stop, on every rank at the same place. The text says what is kept."""


TOGETHER_S = 3.0
"""Signals that come within this time of the first one are the same request, sent by several programs."""


class StopSignals:
    """Remembers the first stop signal. A second one ends the process at once: whoever sends it will not wait.

    Ending at once is safe for the run directory, because checkpoints and metrics are complete or absent at any time.
    """

    def __init__(self, *, announce: bool) -> None:
        self._announce = announce  # on one rank only
        self._previous: dict[int, Any] = {}
        self._received_at = 0.0
        self.received: signal.Signals | None = None

    def install(self) -> None:
        """Take over the signals. Call it again after a library has installed handlers of its own."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread only
        for number in STOPPING:
            previous = signal.signal(number, self._handle)
            if previous != self._handle:
                self._previous[number] = previous

    def restore(self) -> None:
        """Restore the former signal handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is not None and (number == signal.SIGINT or now - self._received_at > TOGETHER_S):
            os._exit(128 + number)
        if self.received is not None:
            return
        self.received, self._received_at = signal.Signals(number), now  # the next signal may interrupt the write
        if self._announce:
            hint = "; Ctrl-C again stops at once" if number == signal.SIGINT else "; a second one stops at once"
            text = f"\n{signal.Signals(number).name}: stopping; what is finished will be kept{hint}\n"
            os.write(2, text.encode())  # a print could interrupt itself
