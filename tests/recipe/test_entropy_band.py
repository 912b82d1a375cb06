"""Entropy against its band: alarms with hysteresis, and the knob that brings it back."""

import math

import numpy as np
import pytest
from helpers.histories import controller, entropies, events

from prorl_mega.config.keys import get_setting, with_settings
from prorl_mega.config.schedule import EntropyAction, EntropyConfig, Knob
from prorl_mega.config.schema import RunConfig
from prorl_mega.recipe.entropy_band import ENTROPY, EntropyBand


def steps_and_actions(config: EntropyConfig, *values: float) -> list[tuple[int, str, str]]:
    decided = events(controller(entropy=config), entropies(*values))
    return [(step, event.trigger, event.action) for step, event in decided]


def test_a_warning_comes_once_per_crossing() -> None:
    subject = controller(entropy=EntropyConfig(low=0.1))
    values = [0.5, 0.09, 0.08, math.nan, 0.11, 0.05]
    reasons = [subject.observe(step, {ENTROPY: value}).reasons for step, value in enumerate(values, 1)]
    assert [len(each) for each in reasons] == [0, 1, 0, 0, 1, 1]
    assert reasons[1] == ("entropy fell below the floor: 0.09 nats at step 2, entropy.low=0.1",)
    assert "back above" in reasons[4][0]
    assert controller().observe(1, {ENTROPY: 0.0}).reasons == ()


def test_both_edges() -> None:
    config = EntropyConfig(low=0.5, high=2.0)
    assert steps_and_actions(config, 1.0, 2.1, 1.9, 0.4, 0.6, 3.0) == [
        (2, "entropy_high", "warn"),
        (3, "entropy_high", "over"),
        (4, "entropy_low", "warn"),
        (5, "entropy_low", "over"),
        (6, "entropy_high", "warn"),
    ]


def test_from_one_edge_to_the_other() -> None:
    config = EntropyConfig(low=0.5, high=2.0, patience=2)
    assert steps_and_actions(config, 0.4, 0.4, 3.0, 3.0) == [
        (2, "entropy_low", "warn"),
        (3, "entropy_low", "over"),
        (4, "entropy_high", "warn"),
    ]


def test_margin_keeps_a_trembling_value_to_one_alarm() -> None:
    trembling = [0.49, 0.51] * 10
    assert steps_and_actions(EntropyConfig(low=0.5, margin=0.05), *trembling) == [(1, "entropy_low", "warn")]
    assert len(steps_and_actions(EntropyConfig(low=0.5), *trembling)) == 20


def test_patience_ignores_spikes() -> None:
    config = EntropyConfig(low=0.5, patience=3)
    assert steps_and_actions(config, *[0.4, 0.4, 0.6] * 5) == []
    assert steps_and_actions(config, 0.4, 0.4, 0.4) == [(3, "entropy_low", "warn")]


def test_actions_are_repeated_while_the_alarm_lasts() -> None:
    config = EntropyConfig(low=0.5, patience=2, on_low=EntropyAction.stop)
    assert [step for step, *_ in steps_and_actions(config, *[0.4] * 7)] == [2, 4, 6]
    quiet = EntropyConfig(low=0.5, on_low=EntropyAction.ignore)
    assert steps_and_actions(quiet, 0.4, 0.4) == []


@pytest.mark.parametrize(
    ("knob", "start", "at_low", "at_high"),
    [
        (Knob.entropy_coef, 0.2, [0.3, 0.4, 0.4], [0.1, 0.1, 0.1]),
        (Knob.temperature, 0.3, [0.4, 0.4, 0.4], [0.2, 0.1, 0.1]),
        (Knob.clip_high, 0.25, [0.35, 0.4, 0.4], [0.15, 0.1, 0.1]),
        (Knob.positive_weight, 0.25, [0.15, 0.1, 0.1], [0.35, 0.4, 0.4]),
        (Knob.kl_coef, 0.1, [0.2, 0.3, 0.4], [0.2, 0.3, 0.4]),
    ],
)
def test_knobs(knob: Knob, start: float, at_low: list[float], at_high: list[float]) -> None:
    for value, expected in ((0.1, at_low), (9.0, at_high)):
        config = EntropyConfig(
            low=0.5,
            high=2.0,
            on_low=EntropyAction.adjust,
            on_high=EntropyAction.adjust,
            knob=knob,
            knob_step=0.1,
            knob_min=0.1,
            knob_max=0.4,
        )
        started = with_settings(RunConfig(), {knob.key: start})
        subject = controller(entropy=config, recipe=started.recipe, rollout=started.rollout)
        moved = []
        for step in range(1, 4):
            (event,) = subject.observe(step, {ENTROPY: value}).events
            now = get_setting(subject.settings(), knob.key)
            assert event.numbers["after"] == now
            assert (event.limits["knob_min"], event.limits["knob_max"]) == (0.1, 0.4)
            moved.append(now)
        assert moved == pytest.approx(expected)
        assert subject.hyperparams(3).entropy == subject.settings().recipe.loss.entropy_coef
        assert subject.hyperparams(3).kl == subject.settings().recipe.kl.coef


def test_state_is_all_there_is() -> None:
    config = EntropyConfig(low=0.5, patience=3)
    first, second = EntropyBand(config), EntropyBand(config)
    for step in (1, 2):
        first.take(step, {ENTROPY: 0.1})
    second.state = first.state
    assert second.take(3, {ENTROPY: 0.1})[0].trigger == "entropy_low"


def filtered(half_life: float, values: list[float]) -> list[float]:
    subject = controller(entropy=EntropyConfig(half_life=half_life))
    metrics = [subject.observe(step, each).metrics for step, each in enumerate(entropies(*values), 1)]
    return [each["controller/entropy_filtered"] for each in metrics]


def test_the_filter_is_the_weighted_mean_of_all_steps() -> None:
    values = np.random.default_rng(0).exponential(size=40).tolist()
    for last in range(1, 41):
        weights = 0.5 ** (np.arange(last)[::-1] / 5.0)
        expected = np.average(values[:last], weights=weights)
        assert filtered(5.0, values[:last])[-1] == pytest.approx(expected, rel=1e-12)
    assert filtered(0.0, values) == values, "to the bit"


def test_a_step_counts_half_after_the_half_life() -> None:
    values = filtered(10.0, [0.0] * 1000 + [1.0] * 10)
    assert values[999] == 0.0
    assert values[-1] == pytest.approx(0.5, abs=1e-6)


def test_an_alarm_looks_at_the_filtered_value() -> None:
    noisy = [0.1, 0.9] * 100
    assert len(steps_and_actions(EntropyConfig(low=0.3), *noisy)) == 200
    assert steps_and_actions(EntropyConfig(low=0.3, half_life=20.0), *([0.5] * 50), *noisy) == []
    falling = np.linspace(0.6, 0.0, 400).tolist()
    ((step, trigger, _),) = steps_and_actions(EntropyConfig(low=0.3, half_life=20.0), *falling)
    assert trigger == "entropy_low"
    assert 200 < step < 240, "late by about as many steps as the mean is old"


def test_a_checkpoint_from_before_the_filter() -> None:
    """The adaptive entropy coefficient had a place of its own then."""
    settings = EntropyConfig(target=0.5, integral=0.01, knob_max=1.0)
    subject = controller(entropy=settings)
    state = subject.state_dict()
    for name in ("filtered", "weight"):
        del state["entropy"][name]
    state["progress"] |= {"entropy_coef": 0.25, "entropy_integral": 25.0, "knob": None}
    state["settings"]["recipe.loss.entropy_coef"] = 0.0
    subject.load_state_dict(state)
    assert subject.notes == []
    assert subject.hyperparams(0).entropy == 0.25
    subject.observe(1, {ENTROPY: 0.4})
    assert subject.hyperparams(1).entropy == pytest.approx(0.01 * 25.1)
