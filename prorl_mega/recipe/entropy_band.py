"""The policy's entropy, filtered, and alarms when it leaves its band: it collapses, or its samples become random.

The entropy of one step is that of a few problems, and differs more from step to step than it moves in hundreds. So
what is judged is a running mean in which a step counts half after `half_life` steps, x̄ ← x̄ + a (x − x̄), the mean of
all steps so far in the beginning: a = (1 − q) / (1 − q^n) with q = 2^(−1/half_life) at the n-th step.

An alarm begins when it has been outside the band for `patience` steps in a row and ends when it is back
inside by `margin`: a value that oscillates around an edge gives one alarm, not one per step. While an alarm lasts its
action is repeated every `patience` steps, except for warnings, which come once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec

from prorl_mega.config.schedule import EntropyAction, EntropyConfig
from prorl_mega.types import Event, Metrics

ENTROPY = "policy/entropy"
LOW, HIGH = "entropy_low", "entropy_high"
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Side = Annotated[str, msgspec.Meta(pattern=f"^({LOW}|{HIGH}|)$")]


@dataclass(slots=True)
class BandState:
    """Everything that is remembered between steps; plain JSON values."""

    alarm: Side = ""  # LOW, HIGH or none
    side: Side = ""  # where the latest step was: LOW, HIGH or inside
    outside: Count = 0  # steps in a row on that side, since an action was taken
    filtered: Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)] | None = None  # nats; None: no step so far
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0  # 1 − q^n of it


class EntropyBand:
    """Counts the steps outside of the band; the controller carries the actions out."""

    def __init__(self, config: EntropyConfig) -> None:
        self._config = config
        self.state = BandState()

    def take(self, step: int, metrics: Metrics) -> list[Event]:
        """Return at most one event: an alarm with its action, its repetition, or the end of an alarm.

        Missing or non-finite values are ignored.
        """
        measured = metrics.get(ENTROPY)
        if measured is None or not math.isfinite(measured):
            return []
        entropy = self._filter(measured)
        state, side = self.state, self._side(entropy)
        if state.alarm and self._is_over(state.alarm, entropy):
            name, state.alarm, state.side, state.outside = state.alarm, "", side, int(bool(side))
            edge = "back above the floor" if name == LOW else "back below the ceiling"
            return [self._event(name, "over", entropy, f"entropy is {edge}: {entropy:.4g} nats at step {step}")]
        if side != state.side:
            state.side, state.outside = side, 0
        if not side:
            return []
        state.outside += 1
        return self._alarm(step, side, entropy) if state.outside >= self._config.patience else []

    def _filter(self, entropy: float) -> float:
        """Take a step into the running mean, and return it."""
        state, half_life = self.state, self._config.half_life
        if not half_life:
            state.filtered, state.weight = entropy, 1.0
            return entropy
        keeps = 0.5 ** (1 / half_life)
        state.weight = min(1.0, keeps * state.weight + (1 - keeps))
        before = entropy if state.filtered is None else state.filtered
        state.filtered = before + (1 - keeps) / state.weight * (entropy - before)
        return state.filtered

    def _alarm(self, step: int, side: str, entropy: float) -> list[Event]:
        state = self.state
        is_new, state.alarm, state.outside = state.alarm != side, side, 0
        action = self._config.on_low if side == LOW else self._config.on_high
        if action is EntropyAction.ignore or (action is EntropyAction.warn and not is_new):
            return []
        edge = "fell below the floor" if side == LOW else "rose above the ceiling"
        return [self._event(side, action.name, entropy, f"entropy {edge}: {entropy:.4g} nats at step {step}")]

    def _side(self, entropy: float) -> str:
        if entropy < self._config.low:
            return LOW
        return HIGH if 0 < self._config.high < entropy else ""

    def _is_over(self, alarm: str, entropy: float) -> bool:
        config = self._config
        if alarm == LOW:
            return entropy >= config.low + config.margin
        return entropy <= config.high - config.margin

    def _event(self, trigger: str, action: str, entropy: float, text: str) -> Event:
        config = self._config
        edge = "low" if trigger == LOW else "high"
        limit = config.low if trigger == LOW else config.high
        return Event(
            trigger=trigger,
            action=action,
            numbers={"entropy": entropy},
            limits={edge: limit, "margin": config.margin, "patience": config.patience},
            text=f"{text}, entropy.{edge}={limit:g}",
        )
