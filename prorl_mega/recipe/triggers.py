"""Triggers of a reference reset: a plateau or a decline of validation, the distance to the reference, a schedule.

Hard reset (ProRL, arXiv 2505.24864, section 2.2): "when validation stagnates or degrades". The paper defines neither
word. Here a plateau is `patience` evaluations in a row without a score better than the best since the last reset
by more than `min_delta`, and a decline is `decline_patience` evaluations that are `decline` below that best. ProRL v2
resets on a schedule (`every`) or on a spike of the KL: `kl_patience` steps with more than `kl_bound`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec

from prorl_mega.config.schedule import ResetConfig
from prorl_mega.types import Event, Metrics

SCORE = "evaluation/pass@1"  # what plateaus and declines are judged by
KL = "policy/kl"


Step = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Count = Step  # of steps or evaluations
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(slots=True)
class TriggerState:
    """Everything that is remembered between steps; plain JSON values."""

    last_reset: Step = 0  # step; the start of the run counts as one, the reference being the initial policy
    best: Score | None = None  # score since the last reset
    best_step: Step = 0
    latest: Score | None = None  # score
    stale: Count = 0  # evaluations without improvement since `best`
    down: Count = 0  # evaluations that were `decline` below `best`, since one was clearly not
    far: Count = 0  # steps with more than `kl_bound`, since one had clearly less
    kl: Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)] | None = None  # latest
    record: Score | None = None  # best score of the whole run
    record_step: Step = 0
    record_at_reset: Score | None = None  # `record` when the reference was last reset
    futile: Count = 0  # resets in a row that brought no new record


class ResetTriggers:
    """Counts towards resets; the controller decides."""

    def __init__(self, reset: ResetConfig) -> None:
        self._reset = reset
        self.state = TriggerState()

    def take(self, step: int, metrics: Metrics) -> tuple[list[Event], bool]:
        """Take in a step's metrics. Returns warnings and whether its score is the best of the run so far.

        Missing or non-finite values are ignored.
        """
        self._take_kl(metrics.get(KL))
        if SCORE not in metrics:
            return [], False
        score = metrics[SCORE]
        if not math.isfinite(score):
            return [Event(trigger="score", action="warn", text=f"{SCORE} at step {step} is not finite: ignored")], False
        return [], self._take_score(step, score)

    def fired(self, step: int) -> list[Event]:
        """One event (without an action yet) for every trigger whose condition holds now."""
        state, reset = self.state, self._reset
        events = []
        if reset.every and step - state.last_reset >= reset.every:
            distance = step - state.last_reset
            text = f"{distance} steps since step {state.last_reset}, every={reset.every}"
            events.append(_event("every", text, {"distance": distance}, {"every": reset.every}))
        if reset.patience and state.stale >= reset.patience:
            events.append(self._plateau())
        if reset.decline and state.down >= reset.decline_patience:
            events.append(self._decline())
        if reset.kl_bound and state.far >= reset.kl_patience:
            text = (
                f"{KL}={state.kl:.4g}, {state.far} steps above kl_bound={reset.kl_bound:g}, "
                f"kl_patience={reset.kl_patience}"
            )
            limits = {"kl_bound": reset.kl_bound, "kl_patience": reset.kl_patience}
            events.append(_event("kl_bound", text, {"kl": state.kl, "steps": state.far}, limits))
        return events

    def is_futile(self) -> bool:
        """Whether too many resets in a row brought no new record to try another one."""
        state = self.state
        return bool(self._reset.futile) and state.futile + (not self._has_new_record()) >= self._reset.futile

    def restart(self, step: int, *, to_best: bool) -> None:
        """The reference was reset after `step`. What comes is judged against the score the policy was reset with."""
        state = self.state
        state.futile = 0 if self._has_new_record() else state.futile + 1
        state.record_at_reset = state.record
        state.last_reset = step
        if to_best:
            state.latest = state.record
        state.best, state.best_step = state.latest, step
        state.stale = state.down = state.far = 0

    def _has_new_record(self) -> bool:
        state = self.state
        if state.record is None or state.record_at_reset is None:
            return True  # before the first reset, and without evaluations, no reset can be futile
        return state.record > state.record_at_reset

    def _take_kl(self, kl: float | None) -> None:
        if kl is None or not math.isfinite(kl):
            return
        state, bound = self.state, self._reset.kl_bound
        state.kl = kl
        if kl > bound:
            state.far += 1
        elif kl < bound * (1 - self._reset.hysteresis):
            state.far = 0

    def _take_score(self, step: int, score: float) -> bool:
        state, reset = self.state, self._reset
        state.latest = score
        is_record = state.record is None or score > state.record
        if is_record:
            state.record, state.record_step = score, step
        if state.best is None or score > state.best + reset.min_delta:
            state.best, state.best_step, state.stale, state.down = score, step, 0, 0
            return is_record
        state.stale += 1
        if score <= state.best - reset.decline:
            state.down += 1
        elif score > state.best - reset.decline * (1 - reset.hysteresis):
            state.down = 0
        return is_record

    def _plateau(self) -> Event:
        state, reset = self.state, self._reset
        assert state.latest is not None
        text = (
            f"{SCORE}={state.latest:.4g} after {state.stale} evaluations without improvement over "
            f"{state.best:.4g} at step {state.best_step}, patience={reset.patience}, min_delta={reset.min_delta:g}"
        )
        limits = {"patience": reset.patience, "min_delta": reset.min_delta}
        return _event("plateau", text, self._numbers() | {"evaluations": state.stale}, limits)

    def _decline(self) -> Event:
        state, reset = self.state, self._reset
        text = (
            f"{SCORE}={state.latest:.4g}, {state.down} evaluations at least {reset.decline:g} below {state.best:.4g} "
            f"at step {state.best_step}, decline_patience={reset.decline_patience}"
        )
        limits = {"decline": reset.decline, "decline_patience": reset.decline_patience}
        return _event("decline", text, self._numbers() | {"evaluations": state.down}, limits)

    def _numbers(self) -> dict[str, float | None]:
        state = self.state
        return {"score": state.latest, "best": state.best, "best_step": state.best_step}


def _event(trigger: str, text: str, numbers: dict[str, float | None], limits: dict[str, float]) -> Event:
    known = {name: value for name, value in numbers.items() if value is not None}
    return Event(trigger=trigger, action="", numbers=known, limits=limits, text=text)
