"""Stages: when they begin and end, what they change, and the schedules of `configs/`."""

import numpy as np
import pytest
from helpers.histories import (
    PAPER_RESETS,
    PAPER_STEPS,
    controller,
    events,
    paper_history,
    reset_steps,
    scores,
    stalling_history,
)
from helpers.settings import compose_settings

from prorl_mega.config.compose import to_objects
from prorl_mega.config.recipe import KLConfig, RecipeConfig
from prorl_mega.config.schedule import (
    EntropyAction,
    EntropyConfig,
    KLControlConfig,
    ResetConfig,
    StageConfig,
    StageEnd,
)
from prorl_mega.config.schema import RunConfig
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.triggers import KL


def schedule(option: str) -> RunConfig:
    settings = compose_settings(f"schedule={option}", "tasks=reasoning", "name=x", "model.path=x")
    return to_objects(settings, RunConfig)


def test_stages_by_steps() -> None:
    subject = controller(
        stages=[
            StageConfig(name="a", steps=3),
            StageConfig(steps=2, reset=False, recipe={"samples_per_prompt": 8}, optimizer={"learning_rate": 0.5}),
            StageConfig(recipe={"kl": {"coef": 0.7}}, rollout={"temperature": 0.9}),
        ],
        reset=ResetConfig(min_distance=100),
    )
    seen = []
    for step in range(1, 9):
        in_force = subject.settings()
        rate = subject.hyperparams(step - 1).learning_rate
        seen.append((in_force.recipe.samples_per_prompt, rate, in_force.recipe.kl.coef, in_force.rollout.temperature))
        decision = subject.observe(step, {})
        assert decision.metrics["controller/stage"] == (1 if step <= 3 else 2 if step <= 5 else 3)
        assert decision.next_stage == (step in (3, 5))
        assert decision.reset_reference == (step == 5), "the second stage goes on with the reference"
    assert seen == [(16, 2e-6, 1e-4, 1.0)] * 3 + [(8, 0.5, 1e-4, 1.0)] * 2 + [(8, 0.5, 0.7, 0.9)] * 3


def test_a_stage_waits_for_a_trigger() -> None:
    stages = [StageConfig(until=StageEnd.trigger, steps=20), StageConfig(until=StageEnd.trigger), StageConfig()]
    subject = controller(stages=stages, reset=ResetConfig(patience=2, min_distance=4))
    decided = events(subject, scores(0.1, 0.1, 0.1, *[0.1] * 7))
    acted = [(step, event.action, event.trigger) for step, event in decided if event.action != "wait"]
    assert acted == [
        (4, "next_stage", "plateau"),
        (4, "reset", "stage"),
        (8, "next_stage", "plateau"),
        (8, "reset", "stage"),
    ]
    bounded = controller(stages=stages, reset=ResetConfig(patience=2, min_distance=4))
    rising = scores(*np.linspace(0, 1, 60))
    assert reset_steps(bounded, rising) == [20], "the first stage has a bound, the second has none"


def test_a_stage_of_fixed_length_is_not_cut_short_by_a_trigger() -> None:
    subject = controller(stages=[StageConfig(steps=9), StageConfig()], reset=ResetConfig(patience=2, min_distance=1))
    decided = events(subject, scores(*[0.1] * 9))
    assert [(step, event.action) for step, event in decided] == [
        (3, "reset"),
        (5, "reset"),
        (7, "reset"),
        (9, "next_stage"),
        (9, "reset"),
    ]


def test_v1_schedule_has_the_resets_of_the_paper() -> None:
    config = schedule("prorl_v1")
    assert config.schedule.steps == PAPER_STEPS
    for noise in (0.0, 0.02):
        assert reset_steps(ProRLController(config), paper_history(noise=noise)) == PAPER_RESETS
    assert all(step in PAPER_RESETS for step, _ in events(ProRLController(config), paper_history()))


def test_v1_schedule_changes_what_the_paper_changed() -> None:
    subject = ProRLController(schedule("prorl_v1"))
    in_force = {}
    for step in range(1, PAPER_STEPS + 1):
        now = subject.settings()
        in_force[step] = (
            now.recipe.samples_per_prompt,
            now.rollout.max_response_tokens,
            now.tasks.mixture["instruction"].weight > 0,
            now.recipe.shaping.termination.name,
        )
        subject.observe(step, {})
    starts = [1, *(step + 1 for step in PAPER_RESETS)]
    assert [in_force[step] for step in starts] == [
        (16, 8192, False, "none"),
        (16, 8192, False, "none"),
        (16, 8192, True, "none"),
        (16, 8192, True, "scale"),
        (16, 8192, True, "scale"),
        (32, 8192, True, "scale"),
        (32, 8192, True, "scale"),
        (16, 16384, True, "scale"),
    ]
    assert [in_force[step - 1] for step in starts[1:]] == [in_force[step] for step in starts[:-1]]


def test_auto_schedule_finds_the_boundaries_by_itself() -> None:
    """Validation that stalls for the last 80 steps of each of the paper's runs: eight evaluations, the patience."""
    config = schedule("prorl_auto")
    ends = [end // 10 * 10 for end in PAPER_RESETS]
    history = stalling_history(ends, stall=80)
    subject = ProRLController(config)
    decisions = [subject.observe(step, each) for step, each in enumerate(history, 1)]
    assert [step for step, each in enumerate(decisions, 1) if each.next_stage] == ends
    assert [step for step, each in enumerate(decisions, 1) if each.reset_reference] == ends


def test_a_stage_starts_from_its_own_settings() -> None:
    """What was adjusted in the stage before is forgotten; the trigger's counts go with the reset."""
    subject = controller(
        stages=[StageConfig(steps=4), StageConfig(recipe={"kl": {"coef": 1e-3}})],
        kl=KLControlConfig(target=0.1),
        entropy=EntropyConfig(low=1.0, on_low=EntropyAction.adjust, knob_step=0.001, knob_max=0.01),
    )
    events(subject, [{KL: 1.0, ENTROPY: 0.5}] * 3)
    adjusted = subject.settings().recipe
    assert adjusted.kl.coef == pytest.approx(1e-4 * 1.02**3)
    assert adjusted.loss.entropy_coef == pytest.approx(0.003)
    subject.observe(4, {KL: 1.0, ENTROPY: 0.5})
    assert subject.settings().recipe == RecipeConfig(kl=KLConfig(coef=1e-3))
