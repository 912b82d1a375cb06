"""Alarms when numbers of the steps say that a reward may be exploited: the controller's part of `hack_signs.py`.

Four numbers are judged, from running means of the present (x) and of the past (X), which is longer:

- `unscorable`: the share of answers in which nothing was found, x − min X. A base model may begin with most of them
  unscorable, so it is the rise that counts.
- `identical`: the share of full marks that went to answers which are word for word answers to other problems, x.
- `disputed`: the share of full marks that a second verifier has rejected, x over the answers that it has judged.
- `reward_jump`: the rise x − X of the mean reward, where length and entropy have changed by no more than a share of
  theirs, and the rise is not within the noise of x. Learning takes hundreds of steps and changes how a policy writes;
  a way around the verifier is found and taken up within a few, and may look like any other answer. With σ² from the
  differences d of successive steps, mean d² / 2, which a slow trend does not move, x has the standard deviation
  σ √((1 − q) / (1 + q)) for values that are independent and count q less with every step.

An alarm begins after `patience` steps above its bound and ends when its number has fallen `hysteresis` below it. A
warning comes once; `stop` is repeated every `patience` steps while it lasts, so that a run that goes on without a
change stops again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec

from prorl_mega.config.schedule import ALARMS, AlarmAction, AlarmsConfig
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.hack_signs import DISPUTED, IDENTICAL, REWARD_JUMP, SECOND_OPINIONS, SHARE, UNSCORABLE
from prorl_mega.recipe.running_mean import LARGEST, RunningMean, kept_share
from prorl_mega.types import Event, Metrics

REWARD, LENGTH = "reward/mean", "length/mean"
RISE = "hack/reward_rise"  # what `reward_jump` judges
ENOUGH = 8  # second opinions in a mean that is judged
SETTLED = 0.5  # age of a past that is compared with
OVER = "over"  # action of the event that ends an alarm

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Value = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]


@dataclass(slots=True)
class AlarmState:
    """One alarm: whether it lasts, and the steps in a row above its bound since it began or acted."""

    lasts: bool = False
    steps: Count = 0


@dataclass(slots=True)
class AlarmsState:
    """Everything that is remembered between steps; plain JSON values."""

    unscorable: AlarmState = field(default_factory=AlarmState)
    identical: AlarmState = field(default_factory=AlarmState)
    disputed: AlarmState = field(default_factory=AlarmState)
    reward_jump: AlarmState = field(default_factory=AlarmState)
    present: dict[str, RunningMean] = field(default_factory=dict)  # by metric
    past: dict[str, RunningMean] = field(default_factory=dict)
    lowest: Value | None = None  # past share of unscorable answers
    reward: Value | None = None  # of the last step that had one
    squares: RunningMean = field(default_factory=RunningMean)  # squared differences of successive rewards, halved


class Finding(NamedTuple):
    """The number that is compared with a bound, with the numbers that it follows from and the same in words."""

    value: float
    numbers: dict[str, float]
    text: str


class Alarms:
    """Judges every step; the controller carries the actions out."""

    def __init__(self, config: AlarmsConfig) -> None:
        self._config = config
        self.state = AlarmsState()

    def take(self, step: int, metrics: Metrics) -> tuple[list[Event], Metrics]:
        """Take in a step. Returns the alarms that begin, act again or end, and metrics of what was judged.

        Missing, non-finite and absurd values are ignored.
        """
        known = {name: value for name, value in metrics.items() if math.isfinite(value) and abs(value) <= LARGEST}
        findings = {
            UNSCORABLE: self._unscorable(known),
            IDENTICAL: self._identical(known),
            DISPUTED: self._disputed(known),
            REWARD_JUMP: self._reward_jump(known),
        }
        events = [event for sign in ALARMS if (found := findings[sign]) for event in self._judge(step, sign, found)]
        rise = findings[REWARD_JUMP]
        return events, {} if rise is None else {RISE: rise.numbers["rise"]}

    def begin_again(self) -> None:
        """Compare nothing that comes with what was: there are other problems or limits, or another policy. Alarms last
        until their numbers are known again."""
        for sign in ALARMS:
            getattr(self.state, sign).steps = 0
        self.state.present, self.state.past, self.state.squares = {}, {}, RunningMean()
        self.state.lowest = self.state.reward = None

    def _unscorable(self, known: Metrics) -> Finding | None:
        name = SHARE[UNSCORABLE]
        if name not in known:
            return None
        now, past = self._present(name, known[name]), self._past(name, known[name])
        if past is not None:
            self.state.lowest = past if self.state.lowest is None else min(past, self.state.lowest)
        lowest = self.state.lowest
        if lowest is None:
            return None
        text = f"{now:.1%} of the answers have nothing in the form that was asked for, {lowest:.1%} at the least"
        return Finding(now - lowest, {"share": now, "lowest": lowest}, text)

    def _identical(self, known: Metrics) -> Finding | None:
        name = SHARE[IDENTICAL]
        if name not in known:
            return None
        now = self._present(name, known[name])
        text = f"{now:.1%} of the answers with full marks are word for word answers to other problems"
        return Finding(now, {"share": now}, text)

    def _disputed(self, known: Metrics) -> Finding | None:
        name, judged = SHARE[DISPUTED], known.get(SECOND_OPINIONS, 0.0)
        if name not in known or judged <= 0:
            return None
        now = self._present(name, known[name], judged)
        if self.state.present[name].weight < ENOUGH:
            return None
        text = f"a second verifier rejects {now:.1%} of the answers with full marks that it has judged"
        return Finding(now, {"share": now}, text)

    def _reward_jump(self, known: Metrics) -> Finding | None:
        if not {REWARD, LENGTH, ENTROPY} <= known.keys():
            return None
        state, config, reward = self.state, self._config, known[REWARD]
        if state.reward is not None:
            state.squares.add((reward - state.reward) ** 2 / 2, config.past_half_life)
        state.reward = reward
        now = {name: self._present(name, known[name]) for name in (REWARD, LENGTH, ENTROPY)}
        past = {name: self._past(name, known[name]) for name in (REWARD, LENGTH, ENTROPY)}
        before, length, entropy = past[REWARD], past[LENGTH], past[ENTROPY]
        if before is None or length is None or entropy is None:
            return None
        rise = now[REWARD] - before
        keeps = kept_share(config.half_life)
        noise = math.sqrt(state.squares.value * (1 - keeps) / (1 + keeps)) if state.squares.weight else 0.0
        moved = max(_change(now[LENGTH], length), _change(now[ENTROPY], entropy))
        counts = moved <= config.still and rise > config.noise * noise
        numbers = {"rise": rise, "reward": now[REWARD], "before": before, "noise": noise, "moved": moved}
        text = (
            f"the mean reward rose from {before:.3g} to {now[REWARD]:.3g} while length and entropy changed by "
            f"{moved:.1%} at most"
        )
        return Finding(rise if counts else 0.0, numbers, text)

    def _present(self, name: str, value: float, weight: float = 1.0) -> float:
        """The running mean of the present with one more step."""
        mean = self.state.present.setdefault(name, RunningMean())
        mean.add(value, self._config.half_life, weight)
        return mean.value

    def _past(self, name: str, value: float) -> float | None:
        """The running mean of the past with one more step; None until it is old enough."""
        mean, half_life = self.state.past.setdefault(name, RunningMean()), self._config.past_half_life
        mean.add(value, half_life)
        return mean.value if mean.age(half_life) >= SETTLED - 1e-9 else None

    def _judge(self, step: int, sign: str, found: Finding) -> list[Event]:
        state, config = getattr(self.state, sign), getattr(self._config, sign)
        if found.value <= config.above:
            state.steps = 0
            if state.lasts and found.value <= config.above * (1 - self._config.hysteresis):
                state.lasts = False
                return [] if config.action is AlarmAction.ignore else [self._event(step, sign, OVER, found, "is over")]
            return []
        state.steps += 1
        if state.steps < config.patience:
            return []
        is_new, state.lasts, state.steps = not state.lasts, True, 0
        if config.action is AlarmAction.ignore or (config.action is AlarmAction.warn and not is_new):
            return []
        return [self._event(step, sign, config.action.name, found, "begins" if is_new else "goes on")]

    def _event(self, step: int, sign: str, action: str, found: Finding, what: str) -> Event:
        config = getattr(self._config, sign)
        limits = {"above": config.above, "patience": config.patience, "hysteresis": self._config.hysteresis}
        if sign == REWARD_JUMP:
            limits |= {"still": self._config.still, "noise": self._config.noise}
        text = f"the alarm {sign} {what} at step {step}: {found.text}, schedule.alarms.{sign}.above={config.above:g}"
        return Event(trigger=sign, action=action, numbers=found.numbers, limits=limits, text=text)


def _change(now: float, before: float) -> float:
    """The relative change; of nothing to something it is infinite, which no bound allows."""
    if now == before:
        return 0.0
    return abs(now - before) / abs(before) if before else 1e15
