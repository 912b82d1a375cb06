"""The controller: decides on resets, stages, coefficients, warnings and the end of a run from its global metrics.

The controller is pure: the same metrics in the same order give the same decisions, on every rank, after a resume and
in a backtest (`python -m prorl_mega.backtest`). Whatever it decides is an `Event` with the numbers that led to it.

It does not know which step is the last, so a run may end with a reset. That reset is not idle: with more steps the run
goes on from there, and is then what it would have been with all its steps from the start.

One step can end several things at once. Order: an action on entropy, alarms, the end of the stage, the triggers of a
reset. There is one reset at most, and it never comes within `reset.min_distance` steps of the last one, except where a
stage begins.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict
from typing import Any

from prorl_mega.config.keys import get_setting, with_settings
from prorl_mega.config.schedule import Knob, ResetTarget, StageConfig, StageEnd
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.alarms import Alarms
from prorl_mega.recipe.carry_over import carried_over, watched
from prorl_mega.recipe.coefficient import next_kl_factor, next_knob
from prorl_mega.recipe.controller_state import SETTINGS, ProgressState, read_state, to_parts
from prorl_mega.recipe.entropy_band import ENTROPY, LOW, EntropyBand
from prorl_mega.recipe.triggers import KL, SCORE, ResetTriggers
from prorl_mega.types import Decision, Event, Metrics, StepHyperparams

WARMUP_START = 0.1  # of the learning rate


class ProRLController:
    """Implements `protocols.Controller`."""

    def __init__(self, config: RunConfig) -> None:
        schedule = config.schedule
        self._config = config
        self._stages = schedule.stages or [StageConfig()]
        self.stages = stage_settings(config)
        """The settings of every stage, before adjustments."""
        self._reset = schedule.reset
        self._entropy = schedule.entropy
        self._kl = schedule.kl
        self._triggers = ResetTriggers(schedule.reset)
        self._band = EntropyBand(schedule.entropy)
        self._alarms = Alarms(schedule.alarms)
        self._progress = ProgressState()
        self.notes: list[str] = []
        """Sentences on what `load_state_dict` has not taken over, because settings have changed."""

    def settings(self) -> RunConfig:
        """The settings in force: those of the current stage with the controller's adjustments."""
        progress = self._progress
        settings = self.stages[progress.stage]
        changes: dict[str, float] = {}
        if progress.kl_factor != 1.0:
            changes[Knob.kl_coef.key] = settings.recipe.kl.coef * progress.kl_factor
        if progress.knob is not None:
            changes[self._entropy.knob.key] = progress.knob
        return with_settings(settings, changes)

    def hyperparams(self, step: int) -> StepHyperparams:
        """The hyperparameters of one step's updates; `step` is the number of completed steps.

        Linear warm-up, then constant. A cleared optimizer has no second moments and its first steps are as large as
        the learning rate in every parameter, so the warm-up begins again after a reset that clears it.
        """
        settings = self.settings()
        age, warmup = step - self._progress.last_clear, settings.optimizer.warmup_steps
        done = 1.0 if age >= warmup else age / warmup
        return StepHyperparams(
            kl=settings.recipe.kl.coef,
            entropy=settings.recipe.loss.entropy_coef,
            learning_rate=settings.optimizer.learning_rate * (WARMUP_START + (1 - WARMUP_START) * done),
        )

    def observe(self, step: int, metrics: Metrics) -> Decision:
        """Take in the metrics of step `step` (the first is 1). Missing or non-finite values are ignored."""
        in_force = self._in_force()
        noticed = self._band.take(step, metrics)
        warnings, is_record = self._triggers.take(step, metrics)
        alarms, judged = self._alarms.take(step, metrics)
        in_force |= judged
        self._follow(metrics)
        if self._band.state.filtered is not None:
            in_force["controller/entropy_filtered"] = self._band.state.filtered
        keeps_best = is_record and self._reset.to is ResetTarget.best
        events = [self._adjusted(event) for event in noticed if event.action != "reset"] + warnings + alarms
        urgent = [event for event in noticed if event.action == "reset"]
        if any(event.action == "stop" for event in events):
            return Decision(stop=True, keep_best=keeps_best, metrics=in_force, events=tuple(events))

        triggers = urgent + self._triggers.fired(step)
        earliest = self._triggers.state.last_reset + self._reset.min_distance
        ready = triggers if step >= earliest else []
        decision = self._next_stage(step, ready) or self._reset_reference(step, ready)
        if triggers and not ready and not decision.next_stage:
            news = triggers if SCORE in metrics else urgent
            wait = f"reference reset waits for step {earliest} (min_distance)"
            events += [dataclasses.replace(each, action="wait", text=f"{wait}: {each.text}") for each in news]
        events += decision.events
        return dataclasses.replace(decision, keep_best=keeps_best, metrics=in_force, events=tuple(events))

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values: what is remembered, and the settings that it depends on."""
        parts = {name: asdict(part) for name, part in self._parts().items()}
        return parts | {SETTINGS: watched(self._config, self.stages[self._progress.stage])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called, perhaps under other settings: see `carry_over.py`.

        Raises CheckpointError for a state of another program.
        """
        saved = read_state(state)
        if saved.progress.stage >= len(self._stages):
            raise CheckpointError(
                f"the checkpoint is in stage {saved.progress.stage + 1} of the schedule, which has "
                f"{len(self._stages)} now; resume with the schedule that the run was started with"
            )
        stage = self.stages[saved.progress.stage]
        parts, self.notes = carried_over(saved.parts(), saved.settings, self._config, stage)
        now = to_parts(parts)
        self._triggers.state, self._band.state = now.triggers, now.entropy
        self._alarms.state, self._progress = now.alarms, now.progress

    def _in_force(self) -> Metrics:
        settings = self.settings()
        return {
            "controller/stage": float(self._progress.stage + 1),
            "controller/kl_coef": settings.recipe.kl.coef,
            "controller/entropy_coef": settings.recipe.loss.entropy_coef,
            "controller/clip_high": settings.recipe.policy_loss.clip_high,
            "controller/positive_weight": settings.recipe.advantage.positive_weight,
            "controller/temperature": settings.rollout.temperature,
        }

    def _parts(self) -> dict[str, Any]:
        return {
            "triggers": self._triggers.state,
            "entropy": self._band.state,
            "alarms": self._alarms.state,
            "progress": self._progress,
        }

    def _next_stage(self, step: int, triggers: list[Event]) -> Decision | None:
        """Enter the next stage if this one is over: after its steps, or at one of `triggers` if it waits for one."""
        progress = self._progress
        stage, elapsed = self._stages[progress.stage], step - progress.stage_start
        is_last = progress.stage == len(self._stages) - 1
        counted = bool(stage.steps) and elapsed >= stage.steps
        if is_last or not (counted or (stage.until is StageEnd.trigger and triggers)):
            return None
        why = f"{elapsed} steps, steps={stage.steps}" if counted else triggers[0].text
        self._progress = ProgressState(stage=progress.stage + 1, stage_start=step, last_clear=progress.last_clear)
        self._alarms.begin_again()
        entered = self._stages[progress.stage + 1]
        called = f" ({entered.name})" if entered.name else ""
        event = Event(
            trigger="steps" if counted else triggers[0].trigger,
            action="next_stage",
            numbers={"stage": progress.stage + 1, "steps": elapsed} | ({} if counted else triggers[0].numbers),
            limits={"steps": stage.steps} if counted else triggers[0].limits,
            text=f"stage {progress.stage + 2} of {len(self._stages)}{called} begins: {why}",
        )
        if not entered.reset:
            return Decision(next_stage=True, events=(event,))
        cause = Event(trigger="stage", action="", numbers={"stage": progress.stage + 1}, text="a stage begins")
        return self._reset_now(step, [cause], Decision(next_stage=True, events=(event,)))

    def _reset_reference(self, step: int, triggers: list[Event]) -> Decision:
        if not triggers:
            return Decision()
        if self._triggers.is_futile():
            futile = self._triggers.state.futile + 1
            resets = f"{futile} reset{'s' * (futile > 1)} in a row"
            text = f"stop: {resets} without a better score, futile={self._reset.futile}; {triggers[0].text}"
            limits = {"futile": self._reset.futile} | triggers[0].limits
            numbers = {"resets": futile} | triggers[0].numbers
            event = dataclasses.replace(triggers[0], action="stop", numbers=numbers, limits=limits, text=text)
            return Decision(stop=True, events=(event,))
        return self._reset_now(step, triggers, Decision())

    def _reset_now(self, step: int, triggers: list[Event], decision: Decision) -> Decision:
        state, clears = self._triggers.state, self._reset.clear_optimizer
        to_best = self._reset.to is ResetTarget.best and state.record is not None
        what = f"reset to the best policy (step {state.record_step})" if to_best else "reference reset"
        events = [dataclasses.replace(each, action="reset", text=f"{what}: {each.text}") for each in triggers]
        self._triggers.restart(step, to_best=to_best)
        if to_best:
            self._alarms.begin_again()
        if clears:
            self._progress.last_clear = step
        return dataclasses.replace(
            decision,
            reset_reference=True,
            reset_optimizer=clears,
            reset_to_best=to_best,
            events=(*decision.events, *events),
        )

    def _follow(self, metrics: Metrics) -> None:
        """Set what follows a measured number at the next step."""
        progress, config = self._progress, self._entropy
        progress.kl_factor = next_kl_factor(progress.kl_factor, metrics.get(KL, math.nan), self._kl)
        filtered = self._band.state.filtered
        if config.target and filtered is not None and math.isfinite(metrics.get(ENTROPY, math.nan)):
            start = get_setting(self.stages[progress.stage], config.knob.key)
            current = start if progress.knob is None else progress.knob
            progress.knob, progress.entropy_integral = next_knob(
                start, current, progress.entropy_integral, filtered, config
            )

    def _adjusted(self, event: Event) -> Event:
        """Move the knob if the event asks for it."""
        if event.action != "adjust":
            return event
        config = self._entropy
        before = get_setting(self.settings(), config.knob.key)
        towards = config.knob.direction if event.trigger == LOW else -config.knob.direction
        moved = before + config.knob_step * (towards or 1)  # the KL penalty pulls back from both sides
        after = min(max(moved, config.knob_min), config.knob_max)
        self._progress.knob = after
        return dataclasses.replace(
            event,
            numbers=event.numbers | {"before": before, "after": after},
            limits=event.limits | {"knob_min": config.knob_min, "knob_max": config.knob_max},
            text=f"{event.text}: {config.knob.name} {before:.4g} -> {after:.4g}",
        )
