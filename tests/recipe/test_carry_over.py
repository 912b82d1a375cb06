"""The controller under changed settings: which of its adjustments and counts go on, and which begin anew."""

import json
from typing import Any

import pytest

from prorl_mega.config.keys import setting_keys, with_settings
from prorl_mega.config.schedule import (
    EntropyAction,
    EntropyConfig,
    KLControlConfig,
    Knob,
    ResetConfig,
    ResetTarget,
    ScheduleConfig,
    StageConfig,
)
from prorl_mega.config.schema import RunConfig, TaskConfig
from prorl_mega.recipe.carry_over import FORGETS, watched
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.triggers import KL, SCORE
from prorl_mega.types import Decision, Metrics

ADJUSTING = EntropyConfig(
    low=0.5, on_low=EntropyAction.adjust, knob=Knob.temperature, knob_step=0.1, knob_min=0.5, knob_max=1.5
)


def after(schedule: ScheduleConfig, *history: Metrics) -> tuple[RunConfig, dict[str, Any]]:
    """Settings, and the state of a controller that has seen `history` under them."""
    config = RunConfig(schedule=schedule)
    subject = ProRLController(config)
    for step, metrics in enumerate(history, 1):
        subject.observe(step, metrics)
    return config, json.loads(json.dumps(subject.state_dict(), allow_nan=False))


def resumed(before: tuple[RunConfig, dict[str, Any]], changes: dict[str, Any]) -> ProRLController:
    config, state = before
    subject = ProRLController(with_settings(config, changes))
    subject.load_state_dict(state)
    return subject


def kl_coef(subject: ProRLController) -> float:
    return subject.settings().recipe.kl.coef


def test_every_watched_setting_exists_and_has_its_line() -> None:
    assert set(FORGETS) == set(watched(RunConfig(), RunConfig())) <= set(setting_keys(RunConfig))


def test_an_adjusted_kl_coefficient() -> None:
    before = after(ScheduleConfig(kl=KLControlConfig(target=0.1)), {KL: 1.0}, {KL: 1.0})
    adjusted = kl_coef(resumed(before, {}))
    assert adjusted == pytest.approx(1e-4 * 1.02**2)
    other = resumed(before, {"optimizer.learning_rate": 1e-7, "schedule.kl.target": 0.2})
    assert (kl_coef(other), other.notes) == (adjusted, [])
    new = resumed(before, {"recipe.kl.coef": 0.01})
    assert kl_coef(new) == 0.01, "a new value in the settings wins"
    assert new.notes == [
        "the controller begins anew with the adjustment of recipe.kl.coef, because recipe.kl.coef has changed"
    ]
    assert kl_coef(resumed(before, {"schedule.kl.target": 0.0})) == 1e-4, "switched off: what the settings say"
    assert kl_coef(resumed(before, {"schedule.kl.max_factor": 1.01})) == pytest.approx(1.01e-4)


def test_an_adjusted_entropy_coefficient() -> None:
    control = EntropyConfig(target=1.0, proportional=1e-3, integral=1e-3, knob_max=0.01)
    before = after(ScheduleConfig(entropy=control), {ENTROPY: 0.5}, {ENTROPY: 0.5})
    coefficient = resumed(before, {"optimizer.learning_rate": 1e-7}).settings().recipe.loss.entropy_coef
    assert coefficient == pytest.approx(1e-3 * 0.5 + 1e-3 * 1.0)
    new = resumed(before, {"recipe.loss.entropy_coef": 5e-3})
    assert new.settings().recipe.loss.entropy_coef == 5e-3
    new.observe(3, {ENTROPY: 0.5})
    assert new.settings().recipe.loss.entropy_coef == pytest.approx(5e-3 + 1e-3 * 0.5 + 1e-3 * 0.5), "and its sum"
    assert resumed(before, {"schedule.entropy.target": 0.0}).settings().recipe.loss.entropy_coef == 0.0
    assert resumed(before, {"schedule.entropy.knob_max": 1e-3}).settings().recipe.loss.entropy_coef == 1e-3


def test_an_adjusted_knob() -> None:
    before = after(ScheduleConfig(entropy=ADJUSTING), {ENTROPY: 0.1}, {ENTROPY: 0.1})

    def temperature(**changes: Any) -> float:
        return (
            resumed(before, {key.replace("__", "."): value for key, value in changes.items()})
            .settings()
            .rollout.temperature
        )

    assert temperature() == temperature(optimizer__learning_rate=1e-7) == pytest.approx(1.2)
    assert temperature(rollout__temperature=0.8) == 0.8
    assert temperature(schedule__entropy__on_low=EntropyAction.warn) == 1.0
    assert temperature(schedule__entropy__knob_max=1.1) == 1.1
    other = resumed(before, {"schedule.entropy.knob": Knob.clip_high, "schedule.entropy.knob_min": 0.1})
    assert other.settings().rollout.temperature == 1.0
    assert other.settings().recipe.policy_loss.clip_high == 0.4, "1.2 was a temperature"


def test_the_stage_that_is_going_on_may_change() -> None:
    stages = [StageConfig(steps=2), StageConfig(steps=2, recipe={"kl": {"coef": 0.5}})]
    before = after(ScheduleConfig(kl=KLControlConfig(target=0.1), stages=stages), {}, {}, {KL: 1.0})
    assert kl_coef(resumed(before, {})) == pytest.approx(0.51)
    assert kl_coef(resumed(before, {"recipe.kl.coef": 0.3})) == pytest.approx(0.51), "the stage has its own"
    changed = [stages[0], StageConfig(steps=4, recipe={"kl": {"coef": 0.2}}), StageConfig()]
    subject = resumed(before, {"schedule.stages": changed})
    assert kl_coef(subject) == 0.2
    entered = [subject.observe(step, {}).next_stage for step in (4, 5, 6, 7)]
    assert entered == [False, False, True, False], "the longer stage begins where it began"


def test_a_run_without_stages_gets_some() -> None:
    subject = resumed(after(ScheduleConfig(), {}, {}, {}), {"schedule.stages": [StageConfig(steps=4), StageConfig()]})
    assert [subject.observe(step, {}).next_stage for step in (4, 5)] == [True, False]


def decide(subject: ProRLController, *history: Metrics, step: int = 4) -> list[Decision]:
    return [subject.observe(number, metrics) for number, metrics in enumerate(history, step)]


@pytest.mark.parametrize("key", ["kl_bound", "decline"])
def test_a_trigger_that_is_switched_on_counts_from_there(key: str) -> None:
    """While it was off, everything was beyond its bound of 0."""
    near: Metrics = {KL: 0.095, SCORE: 0.415}
    schedule = ScheduleConfig(reset=ResetConfig(min_distance=1, kl_patience=3, decline_patience=3))
    before = after(schedule, {SCORE: 0.5, KL: 0.1}, near, near)
    subject = resumed(before, {f"schedule.reset.{key}": 0.1 if key == "kl_bound" else 0.085})
    assert not any(each.reset_reference for each in decide(subject, near, near))
    same = resumed(before, {"optimizer.learning_rate": 1.0})
    assert same.state_dict()["triggers"] == before[1]["triggers"]


def test_counts_towards_a_reset_go_on() -> None:
    schedule = ScheduleConfig(reset=ResetConfig(min_distance=1, patience=9))
    before = after(schedule, {SCORE: 0.5}, {SCORE: 0.4}, {SCORE: 0.4})
    (decision,) = decide(resumed(before, {"schedule.reset.patience": 3, "optimizer.learning_rate": 1e-7}), {SCORE: 0.4})
    assert decision.reset_reference
    assert not decide(resumed(before, {"schedule.reset.patience": 3, "schedule.reset.min_delta": 0.1}), {SCORE: 0.4})[
        0
    ].reset_reference


def test_the_best_policy_is_one_that_was_kept() -> None:
    schedule = ScheduleConfig(reset=ResetConfig(min_distance=1, every=5))
    before = after(schedule, {SCORE: 0.9}, {SCORE: 0.4}, {SCORE: 0.4})
    first, second = decide(resumed(before, {"schedule.reset.to": ResetTarget.best}), {SCORE: 0.3}, {SCORE: 0.2})
    assert first.keep_best, "0.9 was better, and its policy is gone"
    assert second.reset_to_best
    at_once = resumed(before, {"schedule.reset.to": ResetTarget.best, "schedule.reset.every": 4})
    assert not decide(at_once, {})[0].reset_to_best, "there is none yet"


@pytest.mark.parametrize(
    "change",
    [
        {"evaluation.temperature": 0.1},
        {"evaluation.top_p": 0.5},
        {"evaluation.problems_per_task": 3},
        {"rollout.max_response_tokens": 7},
        {"rollout.max_prompt_tokens": 7},
        {"model.keep_special_tokens": ["<think>"]},
        {"tasks.mixture": {"new": TaskConfig(name="gcd")}},
    ],
)
def test_scores_of_other_evaluations_are_not_compared(change: dict[str, Any]) -> None:
    schedule = ScheduleConfig(reset=ResetConfig(min_distance=1, decline=0.1, decline_patience=1, to=ResetTarget.best))
    before = after(schedule, {SCORE: 0.9})
    (decision,) = decide(resumed(before, change), {SCORE: 0.2})
    assert decision.keep_best
    assert not decision.reset_reference
    assert decide(resumed(before, {"evaluation.samples": 3}), {SCORE: 0.2})[0].reset_to_best


def test_another_band_counts_anew() -> None:
    before = after(ScheduleConfig(entropy=EntropyConfig(low=0.5, patience=3)), {ENTROPY: 0.1}, {ENTROPY: 0.1})
    assert decide(resumed(before, {"schedule.entropy.margin": 0.1}), {ENTROPY: 0.1})[0].events
    assert not decide(resumed(before, {"schedule.entropy.low": 0.4}), {ENTROPY: 0.1})[0].events


def test_a_state_that_does_not_say_its_settings_is_taken_over() -> None:
    config, state = after(ScheduleConfig(kl=KLControlConfig(target=0.1)), {KL: 1.0})
    del state["settings"]
    assert kl_coef(resumed((config, state), {})) == pytest.approx(1.02e-4)


def test_a_new_learning_rate_and_warm_up_count_from_the_last_cleared_optimizer() -> None:
    before = after(ScheduleConfig(), {}, {})
    subject = resumed(before, {"optimizer.learning_rate": 1e-3, "optimizer.warmup_steps": 4})
    assert subject.hyperparams(2).learning_rate == pytest.approx(1e-3 * (0.1 + 0.9 * 2 / 4))
    assert subject.hyperparams(4).learning_rate == 1e-3
