"""A line of the list: what a run is doing, in numbers that are cheap to keep for thousands of runs."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from prorl_mega.run.metrics import METRICS, RESETS
from prorl_mega.viewing.followed_numbers import FollowedNumbers, read_tail
from prorl_mega.viewing.latest_numbers import HELD_OUT, LISTED, REWARD, LatestNumbers
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.run_settings import RunSettings
from prorl_mega.viewing.run_state import RunState
from prorl_mega.viewing.values import number, text

_ROWS = 128  # that the small curve is kept as


class ListedRun:
    """`look` first, which takes a moment; `advance` until `is_complete`, for the small curve of a long run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.key = hashlib.sha256(os.fsencode(place.path)).hexdigest()[:16]
        self.settings = RunSettings(place)
        self._state = RunState(place)
        self._looked: tuple[str, str] = ("", "")
        self._numbers = FollowedNumbers(place, most_rows=_ROWS, names=LISTED, take=self._take)
        self._latest = LatestNumbers()
        self._tail: LatestNumbers | None = None
        self._written: float | None = None

    @property
    def is_seen(self) -> bool:
        """Whether it has been looked at."""
        return self._looked[0] != ""

    @property
    def is_complete(self) -> bool:
        return self._numbers.is_complete

    def look(self) -> None:
        """Settings, state and last numbers as they are now."""
        self.settings.look()
        self._looked = self._state.look()
        about = self.place.signature(METRICS)
        self._written = None if about is None else about[3] / 1e9
        if self.is_complete:
            self._numbers.advance()
            self._tail = None
        elif self._tail is None:
            self._tail = LatestNumbers()
            for step, numbers in read_tail(self.place, LISTED):
                self._tail.take(step, numbers)

    def advance(self) -> None:
        """Read on."""
        self._numbers.advance()
        if self.is_complete:
            self._tail = None

    def _take(self, step: int | None, numbers: Any) -> None:
        if step is None:
            self._latest = LatestNumbers()
        else:
            self._latest.take(step, numbers)

    def to_json(self) -> dict[str, Any]:
        """The line that the page shows; every text is made printable, and no number is infinite or NaN."""
        latest, settings = self._tail or self._latest, self.settings.values
        state, why = self._looked
        left = latest.seconds_left(settings) if state == "running" else None
        steps = settings.get("schedule.steps")
        return {
            "key": self.key,
            "name": text(self.place.path.name),
            "folder": text("/".join(self.place.parts[:-1])),
            "state": state,
            "why": text(why),
            "step": latest.step,
            "steps": steps if isinstance(steps, int) else None,
            "left": number(left),
            "written": self._written and round(self._written, 1),
            "model": text(os.path.basename(str(settings.get("model.path", "")).rstrip("/"))),
            "seed": settings.get("seed") if isinstance(settings.get("seed"), int) else None,
            "seconds": number(latest.step_seconds),
            "reward": number(latest.value(REWARD)),
            "pass": number(latest.value("pass/train")),
            "held_out": number(latest.value(HELD_OUT)),
            "held_out_at_start": number(latest.held_out_at_start),
            "entropy": number(latest.value("policy/entropy")),
            "kl": number(latest.value("policy/kl")),
            "length": number(latest.value("length/mean")),
            "resets": number(latest.value(RESETS)),
            "curve": [number(each) for each in self._numbers.series.columns().get(REWARD, ())],
        }
