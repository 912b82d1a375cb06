"""The state of a run, from its directory alone: running, finished, stopped or crashed, and why."""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum

from prorl_mega.documents import BrokenDocumentError
from prorl_mega.run.console import duration, printable
from prorl_mega.run.evaluations import FINAL
from prorl_mega.run.lock import SILENT_BEATS, Holder, parse_holder
from prorl_mega.viewing.places import Place

_TAIL = 1 << 14  # bytes of console.log
_ASK_AGAIN_S = 300.0  # Slurm about a job that has been silent
_LONGEST = 300  # characters of a reason
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


class _Slurm:
    """Asks Slurm about silent holders, one after the other, behind the page: it may take seconds to answer."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[tuple[RunState, Holder]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, state: RunState, holder: Holder) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="slurm", daemon=True)
            self._thread.start()
        self._questions.put((state, holder))

    def _work(self) -> None:
        while True:
            state, holder = self._questions.get()
            state.take(holder.fate())


_SLURM = _Slurm()


class State(StrEnum):
    running = "running"
    finished = "finished"  # the last step is done, and the policy after it was evaluated
    stopped = "stopped"  # saved, after a signal, at its time limit or by a decision of the controller
    crashed = "crashed"  # its process has ended without saying so
    idle = "idle"  # no process, and nothing that says why: a copy of a run's files


@dataclass(slots=True)
class RunState:
    """Looks at a run again and again. Reads, and never touches the lock: `Holder` alone knows who is alive here, and a
    process elsewhere is alive as long as it gives signs of life."""

    place: Place
    _beat: tuple[int, int] = (0, 0)  # inode and time, ns, of the last sign of life
    _seen: float = 0.0  # when it was seen, seconds of the monotonic clock
    _asked: float = field(default=-_ASK_AGAIN_S)
    _answer: str | None = None  # of Slurm, see `Holder.fate`

    def look(self) -> tuple[State, str]:
        """The state, and a few words on it for people, which may be empty."""
        try:
            with self.place.file("LOCK") as (descriptor, about):
                holder, beat = parse_holder(os.pread(descriptor, 4096, 0)), (about.st_ino, about.st_mtime_ns)
        except OSError:
            holder, beat = None, (0, 0)
        if holder is not None:
            ended = self._ended(holder, beat)
            return (State.crashed, f"{ended} ({holder})") if ended else (State.running, str(holder))
        if (self.place / "evaluation").signature(f"{FINAL}.json") is not None:
            return State.finished, ""
        return _left(self._last_words())

    def take(self, answer: str | None) -> None:
        """The answer of `Holder.fate` to a question of `look`."""
        self._answer = answer

    def _ended(self, holder: Holder, beat: tuple[int, int]) -> str:
        """The words that say that the holder is gone; empty if it is alive."""
        now = time.monotonic()
        if beat != self._beat:  # between machines only changes count; of the first sign the clocks have to tell
            age = max(0.0, time.time() - beat[1] / 1e9) if self._beat == (0, 0) else 0.0
            self._beat, self._seen, self._asked, self._answer = beat, now - age, -_ASK_AGAIN_S, None
        if holder.is_here():
            return holder.fate() or ""
        silent = now - self._seen
        if holder.beat_s <= 0 or silent < SILENT_BEATS * holder.beat_s:
            return ""
        if now - self._asked >= _ASK_AGAIN_S:
            self._asked = now
            _SLURM.ask(self, holder)
        return "" if self._answer == "" else self._answer or f"no sign of life for {duration(silent)}"

    def _last_words(self) -> list[str]:
        """The last lines of the console, without their times."""
        try:
            with self.place.file("console.log") as (descriptor, about):
                content = os.pread(descriptor, _TAIL, max(0, about.st_size - _TAIL))
        except (OSError, BrokenDocumentError):
            return []
        lines = content.decode("utf-8", "replace").splitlines()
        return [_STAMP.sub("", printable(line))[:_LONGEST] for line in lines if line.strip()]


def _left(console: list[str]) -> tuple[State, str]:
    """The state of a run that nobody holds and that was not finished."""
    words = [line for line in console if not line.startswith("report: ")]
    if not words:
        return State.idle, ""
    if words[-1].startswith("finished "):
        return State.finished, "without an evaluation of the final policy"
    if "start it again to go on" not in words[-1]:
        return State.crashed, f"last line: {words[-1]}"
    reasons = [line.removeprefix("stopping: ") for line in words[-6:] if line.startswith("stopping: ")]
    return State.stopped, reasons[-1] if reasons else words[-1].partition(";")[0]
