"""Whatever the history and the settings: a resumed controller is the same one, and every decision has its reason."""

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from helpers.histories import (
    controller,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.schedule import (
    ALARMS,
    AlarmAction,
    AlarmConfig,
    AlarmsConfig,
    EntropyAction,
    EntropyConfig,
    KLControlConfig,
    Knob,
    ResetConfig,
    ResetTarget,
    ScheduleConfig,
    StageConfig,
    StageEnd,
)
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.alarms import LENGTH, REWARD
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.hack_signs import SECOND_OPINIONS, SHARE
from prorl_mega.recipe.triggers import KL, SCORE
from prorl_mega.types import Metrics


def resetting(**reset: Any) -> ProRLController:
    return controller(reset=ResetConfig(**({"min_distance": 1} | reset)))


numbers = st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, math.nan])
signs = dict.fromkeys((REWARD, LENGTH, SECOND_OPINIONS, *SHARE.values()), numbers)
metrics = st.fixed_dictionaries({}, optional={SCORE: numbers, ENTROPY: numbers, KL: numbers} | signs)
alarm = st.builds(
    AlarmConfig,
    above=st.sampled_from([0.1, 0.25]),
    patience=st.integers(1, 3),
    action=st.sampled_from(AlarmAction),
)
schedules = st.builds(
    ScheduleConfig,
    reset=st.builds(
        ResetConfig,
        every=st.integers(0, 6),
        patience=st.integers(0, 3),
        min_delta=st.sampled_from([0.0, 0.15]),
        decline=st.sampled_from([0.0, 0.1]),
        decline_patience=st.integers(1, 2),
        kl_bound=st.sampled_from([0.0, 0.15]),
        kl_patience=st.integers(1, 2),
        min_distance=st.integers(1, 6),
        to=st.sampled_from(ResetTarget),
        futile=st.integers(0, 2),
    ),
    entropy=st.builds(
        EntropyConfig,
        low=st.sampled_from([0.0, 0.15]),
        high=st.sampled_from([0.0, 0.4]),
        margin=st.sampled_from([0.0, 0.1]),
        patience=st.integers(1, 3),
        on_low=st.sampled_from(EntropyAction),
        on_high=st.sampled_from(EntropyAction),
        knob=st.sampled_from(Knob),
        knob_step=st.just(0.1),
        knob_min=st.just(0.1),
        knob_max=st.just(0.5),
        target=st.sampled_from([0.0, 0.2]),
        proportional=st.just(0.01),
        integral=st.just(0.001),
        half_life=st.sampled_from([0.0, 2.0]),
        knob_rate=st.sampled_from([0.0, 0.02]),
    ),
    kl=st.builds(KLControlConfig, target=st.sampled_from([0.0, 0.1])),
    alarms=st.builds(
        AlarmsConfig,
        half_life=st.sampled_from([0.0, 1.0]),
        past_half_life=st.sampled_from([2.0, 4.0]),
        noise=st.sampled_from([0.0, 1.0]),
        **dict.fromkeys(ALARMS, alarm),
    ),
    stages=st.lists(
        st.builds(
            StageConfig,
            until=st.sampled_from(StageEnd),
            steps=st.integers(1, 5),
            reset=st.booleans(),
            recipe=st.sampled_from([{}, {"kl": {"coef": 0.5}}, {"samples_per_prompt": 3}]),
        ),
        max_size=3,
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(metrics, max_size=30), st.integers(0, 30), schedules)
def test_interrupted_equals_uninterrupted(history: list[Metrics], cut: int, schedule: ScheduleConfig) -> None:
    def fresh() -> ProRLController:
        return ProRLController(RunConfig(schedule=schedule))

    straight, first, second = fresh(), fresh(), fresh()
    expected = [straight.observe(step, each) for step, each in enumerate(history, 1)]
    decisions = [first.observe(step, each) for step, each in enumerate(history[:cut], 1)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert second.settings() == first.settings()
    decisions += [second.observe(step, each) for step, each in enumerate(history[cut:], cut + 1)]
    assert [asdict(each) for each in decisions] == [asdict(each) for each in expected]
    assert second.settings() == straight.settings()
    assert second.hyperparams(len(history)) == straight.hyperparams(len(history))


RICH = ScheduleConfig(
    reset=ResetConfig(patience=4, decline=0.1, kl_bound=0.15, kl_patience=3, min_distance=4, futile=3),
    entropy=EntropyConfig(low=0.2, margin=0.1, patience=3, on_low=EntropyAction.warn, target=0.5, integral=0.001),
    kl=KLControlConfig(target=0.1),
    stages=[StageConfig(steps=5), StageConfig(until=StageEnd.trigger, recipe={"kl": {"coef": 0.5}}), StageConfig()],
)
COURSE: list[Metrics] = [
    {SCORE: score, KL: kl, ENTROPY: entropy}
    for score, kl, entropy in zip(
        [0.1, 0.2, 0.3, 0.3, 0.15, 0.15, 0.3, 0.3, 0.3, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4],
        [0.0, 0.1, 0.2, 0.2, 0.2, 0.0, 0.2, 0.14, 0.2, 0.2, 0.0, 0.1, 0.1, 0.2, 0.1, 0.2, 0.0, 0.0],
        [0.5, 0.1, 0.1, 0.1, 0.25, 0.1, 0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.35, 0.1, 0.1, 0.1, 0.1],
        strict=True,
    )
]


@pytest.mark.parametrize("cut", range(len(COURSE) + 1))
def test_interrupted_anywhere_on_an_eventful_course(cut: int) -> None:
    straight, first, second = (ProRLController(RunConfig(schedule=RICH)) for _ in range(3))
    expected = [straight.observe(step, each) for step, each in enumerate(COURSE, 1)]
    actions = {event.trigger for decision in expected for event in decision.events}
    assert actions >= {"steps", "stage", "kl_bound", "entropy_low"}
    decisions = [first.observe(step, each) for step, each in enumerate(COURSE[:cut], 1)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    decisions += [second.observe(step, each) for step, each in enumerate(COURSE[cut:], cut + 1)]
    assert decisions == expected
    assert second.state_dict() == straight.state_dict()


@settings(deadline=None, max_examples=60)
@given(st.lists(metrics, max_size=30), schedules)
def test_whatever_is_decided_has_its_reason(history: list[Metrics], schedule: ScheduleConfig) -> None:
    subject = ProRLController(RunConfig(schedule=schedule))
    last = 0
    for step, each in enumerate(history, 1):
        decision = subject.observe(step, each)
        actions = [event.action for event in decision.events]
        assert decision.reset_reference == ("reset" in actions)
        assert decision.next_stage == ("next_stage" in actions)
        assert decision.stop == ("stop" in actions)
        assert not (decision.stop and decision.reset_reference)
        assert all(event.text and event.trigger for event in decision.events)
        json.dumps([asdict(event) for event in decision.events], allow_nan=False)
        if decision.reset_reference:
            assert decision.next_stage or step - last >= schedule.reset.min_distance
            last = step


def test_state_of_another_program() -> None:
    with pytest.raises(CheckpointError, match=r"expected .*triggers"):
        resetting().load_state_dict({"last_reset": 3})
    state = resetting().state_dict()
    with pytest.raises(CheckpointError, match=r"'triggers' has the keys .*expected .*last_reset"):
        resetting().load_state_dict(state | {"triggers": {"last_reset": 3}})
    staged = controller(stages=[StageConfig(steps=1), StageConfig()])
    staged.observe(1, {})
    with pytest.raises(CheckpointError, match="is in stage 2 of the schedule, which has 1 now"):
        resetting().load_state_dict(staged.state_dict())


def test_a_state_of_version_0_1_is_read() -> None:
    """It called the knob a lever."""
    first, second = resetting(), resetting()
    state = json.loads(json.dumps(first.state_dict()))
    assert state["progress"].pop("knob") is None
    second.load_state_dict(state | {"progress": state["progress"] | {"lever": 0.25}})
    assert second.state_dict()["progress"] == first.state_dict()["progress"] | {"knob": 0.25}
