"""Checks of the controller's settings: one sentence per mistake. Used by `prorl_mega.config.validate`."""

from __future__ import annotations

from collections.abc import Iterator

from prorl_mega.config.keys import get_setting
from prorl_mega.config.schedule import ALARMS, AlarmAction, EntropyAction, Knob, ResetTarget, StageEnd
from prorl_mega.config.schema import RunConfig


def schedule_problems(config: RunConfig, stages: list[RunConfig]) -> list[str]:
    """All contradictions inside `schedule`, and between it and `stages`, the settings of every stage."""
    return [
        *_resets(config),
        *_kept(config),
        *_stages(config),
        *_entropy(config, stages),
        *_kl(config, stages),
        *_alarms(config),
    ]


def _resets(config: RunConfig) -> Iterator[str]:
    schedule, reset = config.schedule, config.schedule.reset
    if 0 < reset.every < reset.min_distance:
        yield (
            f"schedule.reset.every={reset.every} is less than schedule.reset.min_distance={reset.min_distance}; "
            f"min_distance of at most {reset.every} works"
        )
    judged_by_score = {
        "patience": reset.patience,
        "decline": reset.decline,
        "futile": reset.futile,
        "to": reset.to is ResetTarget.best,
    }
    for name, value in judged_by_score.items():
        if value and not schedule.evaluate_every:
            shown = "best" if name == "to" else f"{value:g}"
            yield (
                f"schedule.reset.{name}={shown} counts evaluations, and schedule.evaluate_every=0 makes none; "
                f"set evaluate_every, or {name}={'policy' if name == 'to' else 0}"
            )
    if reset.futile and not _has_triggers(config):
        yield f"schedule.reset.futile={reset.futile} waits for a trigger of a reset; set one of them, or futile=0"


def _kept(config: RunConfig) -> Iterator[str]:
    schedule = config.schedule
    if schedule.save_every > 0 and schedule.keep_every % schedule.save_every:  # 0 is told by the bounds
        below = schedule.keep_every // schedule.save_every * schedule.save_every
        yield (
            f"schedule.keep_every={schedule.keep_every} is not a multiple of schedule.save_every={schedule.save_every}:"
            f" nothing is saved at those steps; {below + schedule.save_every} works"
        )
    if schedule.keep_best and not schedule.evaluate_every:
        yield (
            "schedule.keep_best=true compares evaluations, and schedule.evaluate_every=0 makes none; set evaluate_every"
        )


def _stages(config: RunConfig) -> Iterator[str]:
    stages = config.schedule.stages
    for index, stage in enumerate(stages):
        place = f"schedule.stages[{index}]"
        is_last = index == len(stages) - 1
        if stage.until is StageEnd.steps and not stage.steps and not is_last:
            yield f"{place}.steps=0 would never end; give it steps, or until=trigger"
        if stage.until is StageEnd.trigger and not _has_triggers(config):
            yield (
                f"{place}.until=trigger waits for a trigger of schedule.reset, and none is on; set patience, decline, "
                "kl_bound or every, or until=steps"
            )
        if stage.sqrt_batch and "learning_rate" in stage.optimizer:
            yield (
                f"{place}.sqrt_batch=true computes the learning rate, and {place}.optimizer.learning_rate sets it; "
                "leave one of them out"
            )


def _entropy(config: RunConfig, stages: list[RunConfig]) -> Iterator[str]:
    entropy = config.schedule.entropy
    if 0 < entropy.high <= entropy.low:
        yield f"schedule.entropy.high={entropy.high:g} is not above schedule.entropy.low={entropy.low:g}"
    elif entropy.high and entropy.low + entropy.margin > entropy.high - entropy.margin:
        yield (
            f"schedule.entropy.margin={entropy.margin:g} leaves no room between low={entropy.low:g} and "
            f"high={entropy.high:g}; at most {(entropy.high - entropy.low) / 2:g} works"
        )
    adjusts = EntropyAction.adjust in (entropy.on_low, entropy.on_high)
    if entropy.target:
        yield from _target(config, stages)
    if entropy.target and adjusts:
        yield (
            f"schedule.entropy.target={entropy.target:g} and the action adjust both move {entropy.knob.name}; use one: "
            "on_low and on_high may be ignore, warn, reset or stop beside a target"
        )
    if adjusts and entropy.knob_step <= 0:
        yield f"schedule.entropy.knob_step={entropy.knob_step:g} moves nothing; adjust needs more than 0"
    if entropy.target or adjusts:
        yield from _knob(config, stages)


def _target(config: RunConfig, stages: list[RunConfig]) -> Iterator[str]:
    entropy = config.schedule.entropy
    one_update = any(each.recipe.prompts_per_update >= each.recipe.prompts_per_step for each in stages)
    if entropy.knob is Knob.clip_high and one_update:
        yield (
            "schedule.entropy.knob=clip_high moves nothing where a step is one update, in which all ratios are 1; take "
            "another knob, or recipe.prompts_per_update below prompts_per_step"
        )
    if not (entropy.proportional or entropy.integral):
        yield (
            f"schedule.entropy.target={entropy.target:g} needs schedule.entropy.proportional or integral above 0; "
            "without them the knob never moves"
        )
    if entropy.target < entropy.low or 0 < entropy.high < entropy.target:
        yield (
            f"schedule.entropy.target={entropy.target:g} is outside of the band from low={entropy.low:g} to "
            f"high={entropy.high:g}; choose one inside of it"
        )
    if not entropy.knob.direction:
        yield (
            f"schedule.entropy.knob={entropy.knob.name} pulls entropy to that of the reference from both sides, and "
            "cannot follow a target; take another knob"
        )


def _knob(config: RunConfig, stages: list[RunConfig]) -> Iterator[str]:
    entropy = config.schedule.entropy
    knob = entropy.knob
    if knob is Knob.kl_coef and config.schedule.kl.target:
        yield "schedule.entropy.knob=kl_coef and schedule.kl.target both move recipe.kl.coef; use one"
    if knob in (Knob.temperature, Knob.clip_high) and entropy.knob_min <= 0:
        yield f"schedule.entropy.knob_min={entropy.knob_min:g} must be more than 0 for {knob.name}"
    if knob in (Knob.positive_weight, Knob.kl_coef) and entropy.knob_min < 0:
        yield f"schedule.entropy.knob_min={entropy.knob_min:g} must be at least 0 for {knob.name}"
    if entropy.knob_min >= entropy.knob_max:
        yield (
            f"schedule.entropy.knob_max={entropy.knob_max:g} must be more than knob_min={entropy.knob_min:g}, or "
            f"{knob.name} cannot move"
        )
        return
    for settings in stages:
        value = get_setting(settings, knob.key)
        if not entropy.knob_min <= value <= entropy.knob_max:
            yield (
                f"schedule.entropy.knob_min={entropy.knob_min:g} and knob_max={entropy.knob_max:g} must enclose "
                f"{knob.name}={value:g}, where the knob starts"
            )
            return


def _kl(config: RunConfig, stages: list[RunConfig]) -> Iterator[str]:
    schedule = config.schedule
    measured = {"schedule.kl.target": schedule.kl.target, "schedule.reset.kl_bound": schedule.reset.kl_bound}
    for key, value in measured.items():
        if value and any(settings.recipe.kl.coef <= 0 for settings in stages):
            yield (
                f"{key}={value:g} looks at the KL, which is not measured where recipe.kl.coef=0; set it above 0 in "
                "every stage"
            )


def _has_triggers(config: RunConfig) -> bool:
    reset = config.schedule.reset
    return bool(reset.every or reset.patience or reset.decline or reset.kl_bound)


def _alarms(config: RunConfig) -> Iterator[str]:
    alarms = config.schedule.alarms
    if alarms.half_life >= alarms.past_half_life:
        yield (
            f"schedule.alarms.half_life={alarms.half_life:g} is not below past_half_life={alarms.past_half_life:g}: "
            "the present would be no newer than the past that it is compared with"
        )
    for name in (each for each in ALARMS if each != "reward_jump"):
        alarm = getattr(alarms, name)
        if alarm.above >= 1 and alarm.action is not AlarmAction.ignore:
            yield (
                f"schedule.alarms.{name}.above={alarm.above:g} is never exceeded by a share of answers; take less than "
                "1, or action=ignore"
            )
