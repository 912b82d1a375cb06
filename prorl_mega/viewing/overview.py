"""All runs below some directories, as they are now. Files are read when somebody asks, and only what is new in them.

A page that nobody looks at costs nothing, and a question takes a fraction of a second whatever has to be read: what is
not read by then is read behind it, for the next one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prorl_mega.run.console import printable
from prorl_mega.viewing.comparison import RunComparison
from prorl_mega.viewing.discovery import MOST_RUNS, find_runs
from prorl_mega.viewing.listed_run import ListedRun
from prorl_mega.viewing.open_run import OpenRun
from prorl_mega.viewing.places import Place

MOST_COMPARED = 8  # runs; as many as there are colours
FIND_S, LOOK_S = 1.5, 0.4  # between two searches for runs, and two looks at those that were found
PATIENCE = 10  # times longer than the last one took, at least: slow storage is asked less often
LOOK_SLICE_S = 0.25  # of looking at runs, per question
SLICE_S = 0.05  # of reading for the list, per question
READ_BEHIND_S = 5.0  # after the last question for the list
OPEN_SLICE_S = 0.4  # of reading for a page of a run or of several
MOST_DRAWN = 3  # runs whose charts are kept as they were sent
KEPT_BYTES = 96 << 20  # of the numbers of runs that were opened; of the last ones a page may need more


class Overview:
    """Answers questions of pages with JSON-able content; None for what there is not. One question at a time."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = [Place(root.resolve()) for root in roots]
        self._runs: dict[str, ListedRun] = {}
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._comparison = RunComparison()
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._asked = 0.0  # when the list was asked for
        self._turns: deque[ListedRun] = deque()  # the next to be looked at comes first
        self._find_at = self._look_at = -1.0

    def runs(self) -> dict[str, Any]:
        """The list. "complete": whether all small curves are whole."""
        with self._lock:
            self._find()
            self._look()
            seen = [run for run in self._runs.values() if run.is_seen]
            _read_on(seen)
            self._asked = time.monotonic()
            if self._reader is None and not all(run.is_complete for run in seen):
                self._reader = threading.Thread(target=self._read_behind, name="reader", daemon=True)
                self._reader.start()
            return {
                "roots": [printable(str(root.path)) for root in self._roots],
                "runs": [run.to_json() for run in seen],
                "most": MOST_RUNS,
                "complete": len(seen) == len(self._runs) and all(run.is_complete for run in seen),
            }

    def run(self, key: str, have: str, points: str, also: Sequence[str] = ()) -> dict[str, Any] | None:
        """The page of a run: its parts but those that the page has (`have`, hashes), and the points of its charts that
        it lacks (`points`, as the last answer gave them). `also`: metrics that a reader wants a chart of."""
        with self._lock:
            self._find()
            if (run := self._opened(key)) is None:
                return None
            run.advance(time.monotonic() + OPEN_SLICE_S)
            listed = self._runs[key]
            listed.look()
            _read_on([listed])
            return run.parts(listed.to_json(), listed.settings, have=have, points=points, also=also)

    def answers(self, key: str, step: int) -> dict[str, Any] | None:
        """The answers of a step, or of the last step before it that has some."""
        with self._lock:
            self._find()
            return run.answers.at(step) if (run := self._opened(key)) else None

    def settings(self, key: str) -> dict[str, Any] | None:
        """Dotted settings of a run, as texts."""
        with self._lock:
            self._find()
            if key not in self._runs:
                return None
            settings = self._runs[key].settings
            settings.look()
            return {"fault": printable(settings.fault), "values": settings.shown()}

    def comparison(self, keys: list[str]) -> dict[str, Any]:
        """Curves of the runs that are still there laid over each other, and the settings in which they differ."""
        with self._lock:
            self._find()
            known = [key for key in dict.fromkeys(keys) if key in self._runs][:MOST_COMPARED]
            runs = [run for key in known if (run := self._opened(key)) is not None]
            until = time.monotonic() + OPEN_SLICE_S
            for run in runs:
                run.advance(until)
            listed = [self._runs[key] for key in known]
            for each in listed:
                each.look()
            _read_on(listed)
            return self._comparison.of(listed, runs)

    def _read_behind(self) -> None:
        """Read on in long runs between the questions of a list, until all are read or nobody asks any more."""
        while True:
            with self._lock:
                run = next((each for each in self._turns if each.is_seen and not each.is_complete), None)
                if run is None or time.monotonic() - self._asked > READ_BEHIND_S:
                    self._reader = None
                    return
                run.advance()
            time.sleep(0.001)  # for a question to take its turn

    def _find(self) -> None:
        """Find the runs there are, unless that was done a moment ago."""
        began = time.monotonic()
        if began < self._find_at:
            return
        known, found = self._runs, [ListedRun(place) for place in find_runs(self._roots)]
        self._runs = {run.key: known.get(run.key, run) for run in found}
        new = [run for key, run in self._runs.items() if key not in known]
        self._turns = deque([*new, *(run for run in self._turns if run.key in self._runs)])
        for key in self._open.keys() - self._runs.keys():
            del self._open[key]
        took = time.monotonic() - began
        self._find_at = began + took + max(FIND_S, PATIENCE * took)

    def _look(self) -> None:
        """Look at the runs in turn, for a moment, new ones first; at most once in a while at each."""
        began = time.monotonic()
        if began < self._look_at:
            return
        for _ in range(len(self._turns)):
            self._turns[0].look()
            self._turns.rotate(-1)
            if time.monotonic() - began > LOOK_SLICE_S:
                return
        took = time.monotonic() - began
        self._look_at = began + took + max(LOOK_S, PATIENCE * took)

    def _opened(self, key: str) -> OpenRun | None:
        if key not in self._runs:
            return None
        run = self._open.pop(key, None) or OpenRun(self._runs[key].place)
        self._open[key] = run
        for other in list(self._open.values())[:-MOST_DRAWN]:
            other.forget_charts()
        while len(self._open) > MOST_COMPARED and sum(each.bytes for each in self._open.values()) > KEPT_BYTES:
            self._open.popitem(last=False)
        return run


def _read_on(runs: Iterable[ListedRun]) -> None:
    """Read what the list shows of runs, for a moment."""
    until = time.monotonic() + SLICE_S
    for run in runs:
        while not run.is_complete and time.monotonic() < until:
            run.advance()
