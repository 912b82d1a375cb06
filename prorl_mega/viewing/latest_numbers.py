"""The numbers that the list of runs shows of one: the last of each, and how long the run still takes."""

from __future__ import annotations

import math
from typing import Any

from prorl_mega.config.schema import ScheduleConfig
from prorl_mega.run.metrics import RESETS
from prorl_mega.run.progress import EVALUATE, SAVE, RunProgress
from prorl_mega.run.timers import TIMING_PREFIX
from prorl_mega.viewing.series import Numbers

REWARD, HELD_OUT = "reward/mean", "evaluation/pass@1"
SHOWN = (
    REWARD,
    "pass/train",
    HELD_OUT,
    "policy/entropy",
    "policy/kl",
    "length/mean",
    "seconds/tokens_per_second",
    RESETS,
)
_TIMES = {name: f"{TIMING_PREFIX}{name}" for name in ("step", EVALUATE, SAVE)}
LISTED = (*SHOWN, *_TIMES.values())
"""The metrics that are read for the list."""


class LatestNumbers:
    """Takes the rows of a run in order. Rows of a step that was there before are taken as they come."""

    def __init__(self) -> None:
        self._schedule = ScheduleConfig()
        self._progress = RunProgress(self._schedule)
        self._values: dict[str, float] = {}
        self._step_seconds: float | None = None
        self.step = 0
        self.held_out_at_start: float | None = None

    def take(self, step: int, numbers: Numbers) -> None:
        """Add a row; names that are not LISTED are of no use and do no harm."""
        self.step = step
        for name in SHOWN:
            if (value := numbers.get(name)) is not None and math.isfinite(value):
                self._values[name] = value
        if step == 0:
            self.held_out_at_start = self._values.get(HELD_OUT)
            return
        times = {name: numbers.get(metric) for name, metric in _TIMES.items()}
        seconds = {name: value for name, value in times.items() if value is not None and 0 <= value < 1e9}
        if "step" in seconds:
            self._step_seconds = seconds["step"]
            self._progress.step_done(seconds)
        if SAVE in seconds:
            self._progress.save_done(seconds[SAVE])

    def value(self, name: str) -> float | None:
        """The last number of a metric, a little older than the last row where it is not part of every step."""
        return self._values.get(name)

    def seconds_left(self, settings: dict[str, Any]) -> float | None:
        """Until the last step is done; None where nobody can tell. `settings` by dotted keys."""
        steps = settings.get("schedule.steps")
        if not isinstance(steps, int):
            return None
        self._schedule.steps = steps
        self._schedule.evaluate_every = settings.get("schedule.evaluate_every", 0)
        self._schedule.save_every = settings.get("schedule.save_every", 0)
        return self._progress.seconds_left(self.step)

    @property
    def step_seconds(self) -> float | None:
        return self._step_seconds
