"""The part that loggers for experiment trackers share: a thread of its own, so that no tracker delays or ends a run.

Everything that a tracker's package does happens in the thread, its import included. What goes wrong there is said
once; `metrics.jsonl` and `decisions.jsonl` have all numbers whatever becomes of it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from prorl_mega.documents import BrokenDocumentError, read_json
from prorl_mega.run.changes import CONFIG
from prorl_mega.run.console import printable
from prorl_mega.run.decisions import NAME as DECISIONS
from prorl_mega.run.decisions import read_decisions
from prorl_mega.run.settings import read_settings
from prorl_mega.types import Event, Metrics

PROJECT = "prorl_mega"
CLOSING_S = 60.0  # the longest that the end of a run waits for a tracker
_WAITING = 1000  # steps that may wait for a tracker; beyond, they are lost to it
_NOTABLE = {"reset", "next_stage", "stop"}  # actions that are shown with their reason; the others are counted
_STATE = "tracked.json"


class TrackedRun(msgspec.Struct, kw_only=True):
    """The part of a run that a tracker has already; kept in the tracker's folder."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}\Z")] | None = None  # that the tracker gave it
    step: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = -1  # the last one that it was given


class Tracker(ABC):
    """A logger (`loggers.py`) that gives the numbers to a tracker.

    A run that goes on is the same run there. Trackers only add, so steps that are done again keep the points of the
    first time; a note says which these are.
    """

    folder: ClassVar[str]  # in the run's directory

    def __init__(self, directory: Path, *, after: int) -> None:
        self.directory, self.place, self._after = directory, directory / self.folder, after
        self._tracked = TrackedRun() if after < 0 else self._read_state()
        self._steps: queue.Queue[tuple[int, Metrics] | None] = queue.Queue()
        self._said = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {self.folder}", daemon=True)
        self._thread.start()

    @abstractmethod
    def start(self, name: str, settings: dict[str, Any], known: str | None) -> str:
        """Begin the run `name`, or go on with the one that has the id `known`; returns its id. `settings` are plain
        values by their dotted keys, without secrets."""

    @abstractmethod
    def log(self, step: int, metrics: Metrics) -> None:
        """Take the numbers of a step, decisions of the controller among them: "decisions/reset": 1."""

    @abstractmethod
    def note(self, step: int, title: str, text: str) -> None:
        """Show a text at a step."""

    @abstractmethod
    def finish(self) -> None:
        """End the run, as far as this process is concerned."""

    def append(self, step: int, metrics: Metrics) -> None:
        if self._thread.is_alive():
            if self._steps.qsize() < _WAITING:
                self._steps.put((step, dict(metrics)))
            else:
                self._say(f"is {_WAITING} steps behind; step {step} is not sent")

    def close(self) -> None:
        self._steps.put(None)
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            self._say(f"does not end within {CLOSING_S:g} s; what it had not sent by then may be lost to it")

    def _work(self) -> None:
        try:
            self._tracked.id = self.start(self.directory.name, read_settings(self.directory / CONFIG), self._tracked.id)
            if -1 < self._after < self._tracked.step:
                last = self._tracked.step
                again = f"Went on after step {self._after}: points of steps {self._after + 1} to {last} are of before."
                self.note(last, "resumed", again)
        except (Exception, SystemExit) as error:
            self._say(f"does not work here, and gets nothing: {error or type(error).__name__}")
            return
        while (given := self._steps.get()) is not None:
            try:
                self._pass_on(*given)
            except (Exception, SystemExit) as error:
                self._say(f"failed at step {given[0]}: {error or type(error).__name__}")
        try:
            self.finish()
        except (Exception, SystemExit) as error:
            self._say(f"failed at the end: {error or type(error).__name__}")

    def _pass_on(self, step: int, metrics: Metrics) -> None:
        if step <= self._tracked.step:
            return
        events = [event for at, event in read_decisions(self.directory / DECISIONS) if at == step]
        counts = Counter(f"decisions/{event.action}" for event in events)
        self.log(step, metrics | {name: float(count) for name, count in counts.items()})
        self._tracked.step = step
        for event in events:
            if event.action in _NOTABLE:
                self.note(step, event.action, _text(event))
        self._write_state()

    def _read_state(self) -> TrackedRun:
        with contextlib.suppress(OSError, BrokenDocumentError, msgspec.ValidationError):
            return msgspec.convert(read_json(self.place / _STATE), TrackedRun)
        return TrackedRun()

    def _write_state(self) -> None:
        """Replace the state, for a resume; it need not survive a power cut, after which a step may be there twice."""
        self.place.mkdir(exist_ok=True)
        unfinished = self.place / f"{_STATE}.new"
        unfinished.write_text(json.dumps(msgspec.to_builtins(self._tracked)), "utf-8")
        unfinished.replace(self.place / _STATE)

    def _say(self, text: str) -> None:
        """Say the first thing that went wrong."""
        if not self._said:
            self._said = True
            line = " ".join(printable(f"loggers: {self.folder} {text}").split())
            print(f"{line[:500]} (the run goes on; its numbers are in metrics.jsonl)", file=sys.stderr, flush=True)


def _text(event: Event) -> str:
    return printable(str(event.text or event.trigger))[:2000]
