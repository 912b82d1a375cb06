"""Settings of the controller: how long a run is, its stages, and what happens when a number crosses a bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from prorl_mega.config.bounds import bounded


class ResetTarget(Enum):
    policy = "policy"  # the reference becomes the policy as it is
    best = "best"  # policy and reference both become the policy that validated best so far


class EntropyAction(Enum):
    """The controller's action when entropy leaves its band. All but `ignore` are warnings as well."""

    ignore = "ignore"
    warn = "warn"
    adjust = "adjust"  # move `knob` by a step, against the drift
    reset = "reset"  # the reference policy, `reset.min_distance` after the last reset at the earliest
    stop = "stop"  # save and end the run


class Knob(Enum):
    """A setting that the controller may move to hold entropy in its band."""

    entropy_coef = "recipe.loss.entropy_coef"
    temperature = "rollout.temperature"  # of sampling; the learner follows
    clip_high = "recipe.policy_loss.clip_high"
    positive_weight = "recipe.advantage.positive_weight"
    kl_coef = "recipe.kl.coef"

    @property
    def key(self) -> str:
        """The dotted setting."""
        return self.value

    @property
    def direction(self) -> int:
        """The effect of more of it on entropy: raises it (1), lowers it (-1), or pulls it back to the reference's from
        both sides (0)."""
        return {Knob.positive_weight: -1, Knob.kl_coef: 0}.get(self, 1)


class StageEnd(Enum):
    steps = "steps"  # after `steps` steps
    trigger = "trigger"  # when a trigger of schedule.reset fires, after `steps` steps at the latest (0: no bound)


@dataclass(kw_only=True, slots=True)
class ResetConfig:
    """Triggers that set the reference policy to the current policy (hard reset: the optimizer is cleared as well).

    A trigger that fires within `min_distance` steps of the last reset waits. A trigger keeps its count while its
    number stays within `hysteresis` (a share of the bound) of the bound, and starts anew when it comes back further.
    """

    every: int = bounded(0, ge=0)  # steps between resets; 0: not on a schedule
    patience: int = bounded(0, ge=0)  # evaluations without improvement that trigger one; 0: not on a plateau
    min_delta: float = bounded(0.0, ge=0)  # improvement of the validation score that counts as one
    decline: float = bounded(0.0, ge=0)  # fall of the score below the best since the last reset; 0: not on a decline
    decline_patience: int = bounded(2, ge=1)  # evaluations so far down that trigger one
    kl_bound: float = bounded(0.0, ge=0)  # nats per token, of `policy/kl`; 0: not on the distance from the reference
    kl_patience: int = bounded(5, ge=1)  # steps above the bound that trigger one
    hysteresis: float = bounded(0.1, ge=0, lt=1)
    min_distance: int = bounded(100, ge=0)  # steps between two resets
    clear_optimizer: bool = True
    to: ResetTarget = ResetTarget.policy
    futile: int = bounded(0, ge=0)  # resets in a row without a better score before a trigger stops the run; 0: never


@dataclass(kw_only=True, slots=True)
class EntropyConfig:
    """The band that the policy's mean entropy (nats per token) should stay in, and the controller's actions.

    What is compared is a running mean with half-life `half_life`. An alarm begins after `patience` steps outside the
    band and ends `margin` inside of it. `target` makes the setting of `knob` the starting point of a
    proportional-integral controller, so that the edges are not reached: with e = target - entropy and d the knob's
    direction, knob = start + d (proportional · e + integral · Σ e), inside its bounds.
    """

    half_life: float = bounded(0.0, ge=0)  # steps after which a step counts half in the running mean; 0: no mean
    low: float = bounded(0.0, ge=0)  # 0: no lower edge
    high: float = bounded(0.0, ge=0)  # 0: no upper edge
    margin: float = bounded(0.0, ge=0)  # nats
    patience: int = bounded(1, ge=1)  # steps
    on_low: EntropyAction = EntropyAction.warn
    on_high: EntropyAction = EntropyAction.warn
    knob: Knob = Knob.entropy_coef  # that `target`, or `adjust`, moves
    knob_min: float = bounded(0.0)
    knob_max: float = bounded(0.0, ge=0)
    knob_step: float = bounded(0.0, ge=0)  # of `adjust`, once every `patience` steps while the alarm lasts
    knob_rate: float = bounded(0.0, ge=0)  # of `target`: largest change from one step to the next; 0: any
    target: float = bounded(0.0, ge=0)  # nats; 0: the knob stays where the settings put it
    proportional: float = bounded(0.0, ge=0)  # change of the knob per nat
    integral: float = bounded(0.0, ge=0)  # change of the knob per nat and step


@dataclass(kw_only=True, slots=True)
class KLControlConfig:
    """Adaptive weight of the KL penalty for a target distance (Ziegler et al., arXiv 1909.08593).

    After every step: coef ← coef · (1 + gain · clip(kl / target - 1, ±error_bound)), inside its bounds.
    """

    target: float = bounded(0.0, ge=0)  # nats per token; 0: the coefficient of `recipe`
    gain: float = bounded(0.1, gt=0, le=1)
    error_bound: float = bounded(0.2, gt=0, le=1)
    min_factor: float = bounded(0.1, gt=0, le=1)  # of recipe.kl.coef
    max_factor: float = bounded(10.0, ge=1)


ALARMS = ("unscorable", "identical", "disputed", "reward_jump")
"""The alarms of `AlarmsConfig`, which are the triggers of their events."""


class AlarmAction(Enum):
    """The controller's action when an alarm begins."""

    ignore = "ignore"
    warn = "warn"  # once per alarm; the answers behind it are kept
    stop = "stop"  # the same, and save and end the run


@dataclass(kw_only=True, slots=True)
class AlarmConfig:
    """A bound of a number that rises when a reward is earned in another way than was meant."""

    above: float = bounded(0.2, gt=0)
    patience: int = bounded(2, ge=1)  # steps above the bound that begin an alarm
    action: AlarmAction = AlarmAction.warn


@dataclass(kw_only=True, slots=True)
class AlarmsConfig:
    """Alarms when answers look like a reward that is exploited (`recipe/hack_signs.py`).

    Numbers of a step are noisy: what is judged are running means of the present. Some are compared with the past, the
    same with a longer half-life, as soon as it is as many steps old. An alarm ends when its number has fallen below the
    bound by the share `hysteresis`.
    """

    half_life: float = bounded(2.0, ge=0)  # steps after which a step counts half in the present; 0: the step alone
    past_half_life: float = bounded(20.0, gt=0)  # the same in the past
    hysteresis: float = bounded(0.25, ge=0, lt=1)
    # Share of answers without one in the form that was asked for, over the least that it was in the past.
    unscorable: AlarmConfig = field(default_factory=AlarmConfig)
    # Share of the answers with full marks that are word for word answers to other problems.
    identical: AlarmConfig = field(default_factory=AlarmConfig)
    # Share of the answers with full marks that a second verifier rejects (`tasks.second_opinions`).
    disputed: AlarmConfig = field(default_factory=AlarmConfig)
    # Rise of the mean reward over the past while length and entropy stay where they were.
    reward_jump: AlarmConfig = field(default_factory=AlarmConfig)
    still: float = bounded(0.1, gt=0, le=1)  # relative change of length and of entropy up to which they have stayed
    noise: float = bounded(4.0, ge=0)  # standard deviations of the present reward that a jump has to exceed as well


@dataclass(kw_only=True, slots=True)
class StageConfig:
    """A part of the run with settings of its own, on top of those of the stage before it.

    A stage may set `recipe` keys but `recipe.curriculum`, `rollout.temperature`, `rollout.max_response_tokens`,
    `optimizer.learning_rate`, `optimizer.warmup_steps`, and `tasks.mixture.<entry>.weight` (0: not drawn).
    """

    name: str = ""
    until: StageEnd = StageEnd.steps
    steps: int = bounded(0, ge=0)  # 0 in the last stage: to the end of the run
    reset: bool = True  # entering it resets the reference as `schedule.reset` says; the first stage never does
    sqrt_batch: bool = False  # learning rate × √(samples per update / samples per update outside of stages) (BroRL)
    recipe: dict[str, Any] = field(default_factory=dict)
    rollout: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """The length of the run, and the steps at which something happens."""

    steps: int = bounded(2000, ge=1)
    reset: ResetConfig = field(default_factory=ResetConfig)
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    kl: KLControlConfig = field(default_factory=KLControlConfig)
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    stages: list[StageConfig] = field(default_factory=list)  # none: one stage with the settings of the run
    evaluate_every: int = bounded(10, ge=0)  # steps; 0: only at the end
    # Steps between reports on sampler and learner, token by token (`parity.jsonl`); the first step always has one, and
    # with 0 no other.
    parity_every: int = bounded(10, ge=0)
    save_every: int = bounded(10, ge=1)  # steps; a checkpoint is also written at the end and after a signal
    # A checkpoint's files are written when it is due, and forced to the disk, hashed, read back and published while the
    # next steps go on. What dies in between goes on from the checkpoint before.
    save_in_background: bool = False
    keep_checkpoints: int = bounded(2, ge=1)  # the newest
    keep_every: int = bounded(0, ge=0)  # steps; checkpoints at multiples of it stay for good; 0: none
    keep_best: bool = False  # the one with the best `evaluation/pass@1` stays; it is saved when it is found
    time_limit_minutes: float = bounded(0.0, ge=0)  # save and stop after it; 0: none
