"""A run that somebody looks at: all of its numbers, its decisions, answers and evaluations, as parts of a page."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from prorl_mega.reporting.history import History
from prorl_mega.reporting.timeline import timeline
from prorl_mega.viewing.chart_points import Description, lacking
from prorl_mega.viewing.followed_numbers import FollowedNumbers
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.records import Decisions, Evaluations, StepAnswers
from prorl_mega.viewing.run_charts import run_charts
from prorl_mega.viewing.run_settings import RunSettings
from prorl_mega.viewing.values import text

MOST_ROWS = 8192  # that are kept; longer runs are averaged, see `GrowingSeries`


class OpenRun:
    """`advance` reads on in the numbers; the rest is read when it is asked for."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.answers = StepAnswers(place)
        self._decisions, self._evaluations = Decisions(place), Evaluations(place)
        self._numbers = FollowedNumbers(place, most_rows=MOST_ROWS)
        self._charts: tuple[Any, list[Description]] = (None, [])

    @property
    def bytes(self) -> int:
        return self._numbers.series.bytes

    @property
    def is_complete(self) -> bool:
        return self._numbers.is_complete

    @property
    def state(self) -> tuple[Any, ...]:
        """Another one when there are other numbers."""
        series = self._numbers.series
        return self._numbers.epoch, len(series), series.last_step, series.stride, len(series.start)

    def advance(self, until: float) -> None:
        """Read to the end, but once only when the monotonic clock is beyond `until`."""
        self._numbers.advance()
        while not self._numbers.is_complete and time.monotonic() < until:
            self._numbers.advance()

    def forget_charts(self) -> None:
        """Give the memory of the charts back; they are made again when they are asked for."""
        self._charts = (None, [])

    def history(self, settings: dict[str, Any]) -> History:
        """The run as a report sees it, without what charts do not need."""
        series = self._numbers.series
        return History(
            name=self.place.path.name,
            directory=self.place.path,
            settings=settings,
            steps=series.steps(),
            columns=series.columns(),
            start=series.start,
            evaluations={},
            changes=self._decisions.changes,
            decisions=self._decisions.events,
            samples={},
            starts=[],
        )

    def parts(
        self, listed: dict[str, Any], settings: RunSettings, *, have: str, points: str, also: Sequence[str]
    ) -> dict[str, Any]:
        """The parts of the page whose hashes are not in `have`, and the points of charts after `points`, with charts of
        the metrics `also`.

        `{"parts": {name: {"hash", "content"}}, "charts": see chart_points.lacking, "complete"}`
        """
        self._decisions.look()
        history, charts = self._described(settings, also)
        contents: dict[str, Any] = {
            "run": listed,
            "decisions": [
                {
                    "step": each.step,
                    "action": text(each.word),
                    "kind": each.kind,
                    "text": text(each.text),
                    "alarm": each.alarm,
                }
                for each in timeline(history)
            ],
            "evaluations": self._evaluations.look(),
            "answers": self.answers.look(),
            "metrics": sorted(map(text, history.columns)),
            "settings": _hash([settings.fault, settings.values]),
        }
        hashes = {name: _hash([name, content]) for name, content in contents.items()}
        held = set(have.split(","))
        return {
            "parts": {
                name: {"hash": hashes[name], "content": content}
                for name, content in contents.items()
                if hashes[name] not in held
            },
            "charts": lacking(charts, self._numbers.epoch, points),
            "complete": self.is_complete,
        }

    def _described(self, settings: RunSettings, also: Sequence[str]) -> tuple[History, list[Description]]:
        """The history and its charts, made again only when there is something new."""
        history = self.history(settings.values)
        state = (self.state, tuple(also))
        if state != self._charts[0]:
            self._charts = (state, run_charts(history, also))
        return history, self._charts[1]


def _hash(content: Any) -> str:
    return hashlib.sha256(repr(content).encode("utf-8", "replace")).hexdigest()[:12]
