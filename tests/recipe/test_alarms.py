"""Alarms over steps: what raises them, what does not, and that a resume changes nothing about it."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from helpers.histories import events

from prorl_mega.config.keys import with_settings
from prorl_mega.config.schedule import ALARMS, AlarmAction, AlarmConfig, AlarmsConfig, ScheduleConfig, StageConfig
from prorl_mega.config.schema import RunConfig, TaskConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe import controller_state
from prorl_mega.recipe.alarms import RISE
from prorl_mega.recipe.control import ProRLController
from prorl_mega.types import Metrics

SHARES = ("hack/unscorable", "hack/identical", "hack/disputed", "hack/second_opinions")


def controller(stages: list[StageConfig] | None = None, **alarms: Any) -> ProRLController:
    return ProRLController(RunConfig(schedule=ScheduleConfig(alarms=AlarmsConfig(**alarms), stages=stages or [])))


def at_once(**alarms: Any) -> ProRLController:
    """Judges every step by itself."""
    return controller(**({"half_life": 0.0, "past_half_life": 3.0} | alarms))


def raised(subject: ProRLController, history: list[Metrics], first: int = 1) -> list[tuple[int, str, str]]:
    return [(step, event.trigger, event.action) for step, event in events(subject, history, first)]


def identical(*shares: float) -> list[Metrics]:
    return [{"hack/identical": share} for share in shares]


def course(
    steps: int, jump: int = 0, *, high: float = 0.9, low: float = 0.4, noise: float = 0.06, length: float = 0.0,
    entropy: float = 0.0, slope: float = 0.0, seed: int = 0,
) -> list[Metrics]:  # fmt: skip
    """Rewards around `low` and, after `jump` steps, around `high`; `length` and `entropy` are what these change by."""
    dice = np.random.default_rng(seed)
    found: list[Metrics] = []
    for step in range(1, steps + 1):
        is_high = bool(jump) and step > jump
        found.append(
            {
                "reward/mean": (high if is_high else low) + slope * step + noise * dice.normal(),
                "length/mean": 300 * (1 + length * is_high) * (1 + 0.02 * dice.normal()),
                "policy/entropy": 0.5 * (1 + entropy * is_high) * (1 + 0.02 * dice.normal()),
            }
        )
    return found


def test_an_alarm_comes_once_and_ends_below_its_bound() -> None:
    subject = at_once(identical=AlarmConfig(above=0.4, patience=2), hysteresis=0.25)
    history = identical(0.5, 0.4, 0.5, 0.5, 0.9, 0.39, 0.31, 0.5, 0.5, 0.5, 0.3, 0.5, 0.5)
    assert raised(subject, history) == [
        (4, "identical", "warn"), (11, "identical", "over"), (13, "identical", "warn")
    ]  # fmt: skip


def test_what_an_alarm_says() -> None:
    ((step, event),) = events(at_once(), identical(0.5, 0.75))
    assert (step, event.trigger, event.action) == (2, "identical", "warn")
    assert (event.numbers, event.limits) == ({"share": 0.75}, {"above": 0.2, "patience": 2, "hysteresis": 0.25})
    assert event.text == (
        "the alarm identical begins at step 2: 75.0% of the answers with full marks are word for word answers to other "
        "problems, schedule.alarms.identical.above=0.2"
    )


def test_stopping_is_repeated_and_ignoring_says_nothing() -> None:
    stopping = at_once(identical=AlarmConfig(action=AlarmAction.stop, patience=2))
    decisions = [stopping.observe(step, each) for step, each in enumerate(identical(*[0.5] * 5, 0.0), 1)]
    assert [decision.stop for decision in decisions] == [False, True, False, True, False, False]
    assert "begins" in decisions[1].reasons[0]
    assert "goes on" in decisions[3].reasons[0]
    ignoring = at_once(identical=AlarmConfig(action=AlarmAction.ignore))
    assert raised(ignoring, identical(0.9, 0.9, 0.9, 0.0)) == []


def test_the_present_is_a_mean_that_one_step_does_not_move() -> None:
    history = identical(*[0.0] * 10, 0.6, *[0.0] * 10)
    assert raised(controller(half_life=4.0, identical=AlarmConfig(patience=1)), history) == []
    assert raised(at_once(identical=AlarmConfig(patience=1)), history)[0] == (11, "identical", "warn")


def test_a_share_of_unscorable_answers_is_judged_by_its_rise() -> None:
    def unscorable(*shares: float) -> list[Metrics]:
        return [{"hack/unscorable": share} for share in shares]

    steady = [0.9] * 60
    assert raised(controller(), unscorable(*steady)) == [], "a base model may begin like this"
    falling = [*np.linspace(0.9, 0.1, 60), *[0.1] * 60]
    assert raised(controller(), unscorable(*falling)) == []
    ((step, trigger, action),) = raised(controller(), unscorable(*falling, *[0.5] * 10))
    assert (trigger, action) == ("unscorable", "warn")
    assert 122 <= step <= 126
    assert raised(controller(), unscorable(0.0, *[0.9] * 10)) == [], "there is no past yet"


def test_disputed_answers_count_by_how_many_were_judged() -> None:
    def disputed(*pairs: tuple[float, float]) -> list[Metrics]:
        return [{"hack/disputed": share, "hack/second_opinions": judged} for share, judged in pairs]

    patient: dict[str, Any] = {"disputed": AlarmConfig(patience=1), "half_life": 10.0}
    assert raised(controller(**patient), disputed(*[(1.0, 1.0)] * 7)) == [], "too few to tell"
    many = disputed(*[(0.0, 16.0), (1.0, 1.0)] * 20)
    assert raised(controller(**patient), many) == [], "one of seventeen"
    assert raised(controller(**patient), disputed((0.5, 16.0)))[0][1:] == ("disputed", "warn")
    assert raised(controller(**patient), [{"hack/second_opinions": 0.0, "hack/disputed": 1.0}, {}] * 9) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_jump_is_one_when_length_and_entropy_stay(seed: int) -> None:
    ((step, trigger, action), *rest) = raised(controller(), course(80, jump=60, seed=seed))
    assert (trigger, action) == ("reward_jump", "warn")
    assert 62 <= step <= 65
    assert [each[1:] for each in rest] in ([], [("reward_jump", "over")]), "the past catches up"


@pytest.mark.parametrize("moved", [{"length": 0.5}, {"length": -0.5}, {"entropy": -0.4}, {"entropy": 0.4}])
@pytest.mark.parametrize("seed", range(4))
def test_a_jump_with_other_answers_is_none(moved: dict[str, float], seed: int) -> None:
    history = course(110, jump=60, seed=seed, **moved)
    assert [step for step, *_ in raised(controller(), history)] == []


@pytest.mark.parametrize("noise", [0.01, 0.06, 0.15, 0.3])
def test_learning_and_noise_are_no_jumps(noise: float) -> None:
    for seed in range(3):
        assert raised(controller(), course(1500, noise=noise, seed=seed)) == []
        assert raised(controller(), course(100, low=0.2, slope=0.005, noise=min(noise, 0.06), seed=seed)) == []


def test_a_jump_before_there_is_a_past_is_none() -> None:
    assert raised(controller(), course(12, jump=6)) == []


HOSTILE = [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e15, -1e15, 0.0, -0.0, 5e-324, -3.0, 7.0]


def test_whatever_the_numbers_are_the_state_can_be_saved() -> None:
    dice = np.random.default_rng(1)
    subject = controller(half_life=0.0, past_half_life=1.0)
    names = (*SHARES, "reward/mean", "length/mean", "policy/entropy")
    for step in range(1, 400):
        metrics = {name: HOSTILE[dice.integers(len(HOSTILE))] for name in names if dice.random() < 0.8}
        if abs(metrics.get("policy/entropy", 0.0)) > 1e30:  # the band of the entropy bounds it on its own
            del metrics["policy/entropy"]
        decision = subject.observe(step, metrics)
        json.dumps([dataclasses.asdict(event) for event in decision.events], allow_nan=False)
        saved = json.loads(json.dumps(subject.state_dict(), allow_nan=False))
        assert not list(controller_state.contradictions(controller_state.read_state(saved), step))
        following = controller(half_life=0.0, past_half_life=1.0)
        following.load_state_dict(saved)
        assert following.state_dict()["alarms"] == subject.state_dict()["alarms"]


def test_steps_without_a_number_are_not_counted() -> None:
    patient = {"identical": AlarmConfig(patience=3)}
    gap = {"hack/identical": math.nan}
    history = [{"hack/identical": 0.9}, gap, {}, {"hack/identical": 0.9}, gap, {"hack/identical": 0.9}]
    assert raised(at_once(**patient), history) == [(6, "identical", "warn")]
    jumping = course(80, jump=60)
    for step in range(0, 60, 7):
        jumping[step]["policy/entropy"] = math.nan
        del jumping[step + 1]["length/mean"]
    assert raised(controller(), jumping)[0][1] == "reward_jump"


def eventful() -> list[Metrics]:
    history = course(100, jump=70)
    for step, metrics in enumerate(history):
        share = 0.6 if 20 <= step % 45 < 30 else 0.02
        metrics |= dict.fromkeys(SHARES[:3], share) | {"hack/second_opinions": float(step % 5)}
    return history


@pytest.mark.parametrize("cut", range(0, 101, 3))
def test_resuming_anywhere_changes_no_decision(cut: int) -> None:
    history, expected = eventful(), raised(controller(), eventful())
    assert {trigger for _, trigger, _ in expected} == set(ALARMS)
    first, second = controller(), controller()
    decided = raised(first, history[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert second.notes == []
    assert decided + raised(second, history[cut:], cut + 1) == expected
    straight = controller()
    raised(straight, history)
    assert second.state_dict() == straight.state_dict(), "to the bit"


def test_a_checkpoint_from_before_there_were_alarms() -> None:
    subject = at_once()
    state = subject.state_dict()
    del state["alarms"]
    for key in [key for key in state["settings"] if key.startswith("schedule.alarms.")]:
        del state["settings"][key]
    subject.load_state_dict(state)
    assert subject.notes == []
    assert raised(subject, identical(0.9, 0.9)) == [(2, "identical", "warn")]


def test_a_state_that_cannot_be() -> None:
    subject = at_once()
    raised(subject, identical(0.9))
    state = subject.state_dict()
    state["alarms"]["identical"]["steps"] = 5
    (said,) = controller_state.contradictions(controller_state.read_state(state), step=1)
    assert "alarms.identical.steps=5 cannot have come about" in said
    state["alarms"]["present"] = {"hack/identical": {"total": 1e300, "weight": 1.0}}
    with pytest.raises(CheckpointError, match="controller state 'alarms'"):
        subject.load_state_dict(state)


def test_another_bound_counts_anew_and_another_mixture_has_no_past() -> None:
    base = RunConfig(schedule=ScheduleConfig(alarms=AlarmsConfig(half_life=0.0, past_half_life=3.0)))
    before = ProRLController(base)
    for step, metrics in enumerate([each | {"hack/identical": 0.9} for each in course(9)], 1):
        before.observe(step, metrics)
    state = json.loads(json.dumps(before.state_dict()))
    bound = ProRLController(with_settings(base, {"schedule.alarms.identical.above": 0.5}))
    bound.load_state_dict(state)
    assert bound.notes == [
        "the controller begins anew with the alarm identical, because schedule.alarms.identical.above has changed"
    ]
    assert raised(bound, identical(0.9, 0.9), 10) == [(11, "identical", "warn")], "again"
    mixture = {"new": TaskConfig(name="arithmetic")}
    other = ProRLController(dataclasses.replace(base, tasks=dataclasses.replace(base.tasks, mixture=mixture)))
    other.load_state_dict(state)
    assert "the past that alarms compare with, because tasks.mixture has changed" in other.notes[0]
    assert raised(other, course(3, high=0.95, jump=0, low=0.95), 10) == []


def test_a_stage_is_not_compared_with_the_one_before_it() -> None:
    history = course(80, jump=60)
    assert raised(controller(), history)[0][1] == "reward_jump"
    staged = controller([StageConfig(steps=60, reset=False), StageConfig(reset=False)])
    assert raised(staged, history) == [(60, "steps", "next_stage")]


def test_the_rise_of_the_reward_is_a_metric() -> None:
    subject = controller(past_half_life=5.0)
    history = course(12, jump=8, noise=0.0)
    told = [subject.observe(step, each).metrics.get(RISE) for step, each in enumerate(history, 1)]
    assert told[:4] == [None] * 4
    assert told[4:8] == pytest.approx([0.0] * 4)
    assert all((value or 0) > 0.05 for value in told[8:])
