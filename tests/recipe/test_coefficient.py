"""Adaptive coefficients against their formulas, and in a closed loop with something to control."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers.histories import controller
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.keys import get_setting, with_settings
from prorl_mega.config.recipe import KLConfig, LossConfig, RecipeConfig
from prorl_mega.config.schedule import EntropyConfig, KLControlConfig, Knob, ScheduleConfig
from prorl_mega.config.schema import RunConfig
from prorl_mega.recipe.coefficient import next_kl_factor, next_knob
from prorl_mega.recipe.control import ProRLController
from prorl_mega.recipe.entropy_band import ENTROPY
from prorl_mega.recipe.triggers import KL


def test_kl_factor_is_that_of_ziegler() -> None:
    control = KLControlConfig(target=0.1, gain=0.1, error_bound=0.2)
    assert next_kl_factor(1.0, 0.11, control) == pytest.approx(1.01)  # error 0.1
    assert next_kl_factor(1.0, 5.0, control) == pytest.approx(1.02)  # error bounded to 0.2
    assert next_kl_factor(1.0, 0.0, control) == pytest.approx(0.98)
    assert next_kl_factor(2.0, 0.1, control) == 2.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), max_size=200))
def test_kl_factor_stays_inside_its_bounds(values: list[float]) -> None:
    control = KLControlConfig(target=0.1, gain=1.0, error_bound=1.0, min_factor=0.5, max_factor=3.0)
    factor = 1.0
    for value in values:
        factor = next_kl_factor(factor, value, control)
        assert 0.5 <= factor <= 3.0


def test_a_fixed_coefficient_never_moves() -> None:
    subject = controller(recipe=RecipeConfig(kl=KLConfig(coef=0.3), loss=LossConfig(entropy_coef=0.2)))
    for step in range(1, 50):
        subject.observe(step, {KL: 5.0, ENTROPY: 0.01})
        assert (subject.hyperparams(step).kl, subject.hyperparams(step).entropy) == (0.3, 0.2)


def test_kl_finds_its_target_in_a_closed_loop() -> None:
    """A policy whose distance is in proportion to 1 / coefficient."""
    subject = controller(recipe=RecipeConfig(kl=KLConfig(coef=1e-3)), kl=KLControlConfig(target=0.05, max_factor=100.0))
    kl = math.nan
    for step in range(1, 600):
        kl = 5e-4 / subject.hyperparams(step - 1).kl
        subject.observe(step, {KL: kl})
    assert kl == pytest.approx(0.05, rel=0.01)


def test_the_knob_is_proportional_and_integral() -> None:
    control = EntropyConfig(target=1.0, proportional=0.1, integral=0.01, knob_max=1.0)
    knob, integral = next_knob(0.2, 0.2, 0.0, 0.5, control)
    assert (knob, integral) == (pytest.approx(0.2 + 0.1 * 0.5 + 0.01 * 0.5), 0.5)
    knob, integral = next_knob(0.2, knob, integral, 1.5, control)
    assert (knob, integral) == (pytest.approx(0.2 - 0.1 * 0.5), 0.0)
    down = replace(control, knob=Knob.positive_weight)
    assert next_knob(0.2, 0.2, 0.0, 0.5, down) == (pytest.approx(0.2 - 0.1 * 0.5 - 0.01 * 0.5), 0.5)
    assert next_knob(0.2, 0.7, 3.0, 0.5, EntropyConfig()) == (0.7, 3.0)


def test_the_knob_moves_by_no_more_than_its_rate() -> None:
    control = EntropyConfig(target=1.0, proportional=1.0, integral=0.01, knob_max=2.0, knob_rate=0.1)
    knob, integral = 1.0, 0.0
    for expected in (1.1, 1.2, 1.3, 1.4, 1.5):
        knob, integral = next_knob(1.0, knob, integral, 0.5, control)
        assert knob == pytest.approx(expected)
    assert integral in (0.0, 0.5), "the sum waits while the knob is on its way"
    knob, integral = next_knob(1.0, knob, integral, 5.0, control)
    assert knob == pytest.approx(1.4)


@pytest.mark.parametrize("knob", [each for each in Knob if each.direction])
def test_the_integral_does_not_wind_up(knob: Knob) -> None:
    control = EntropyConfig(target=1.0, integral=0.01, knob=knob, knob_min=0.95, knob_max=1.05)
    at_bound = 1.05 if knob.direction > 0 else 0.95
    value, integral = 1.0, 0.0
    for _ in range(1000):
        value, integral = next_knob(1.0, value, integral, 0.5, control)
    assert value == at_bound
    steps = 0
    while value == at_bound and steps < 100:
        value, integral = next_knob(1.0, value, integral, 1.5, control)
        steps += 1
    assert steps <= 2, "it takes as long to come back as it was too much"


def test_a_state_in_the_middle_is_all_there_is() -> None:
    settings = EntropyConfig(target=0.8, proportional=0.05, integral=0.001, knob_max=1.0, half_life=7.0, knob_rate=0.01)
    noise = np.random.default_rng(1).normal(0.8, 0.3, 60).tolist()
    whole, first, second = (controller(entropy=settings) for _ in range(3))
    expected = [whole.observe(step, {ENTROPY: value}).metrics for step, value in enumerate(noise, 1)]
    found = [first.observe(step, {ENTROPY: value}).metrics for step, value in enumerate(noise[:23], 1)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.observe(step, {ENTROPY: value}).metrics for step, value in enumerate(noise[23:], 24)]
    assert found == expected, "to the bit"
    assert whole.settings() == second.settings()


@dataclass
class Plant:
    """A policy in miniature: entropy drifts by itself, answers to the knob after a while, and is seen with noise."""

    knob: Knob
    start: float
    drift: float  # nats per step, on its own
    gain: float  # nats per step and unit of the knob
    delay: int = 0  # steps
    noise: float = 0.15  # of what is seen: the soak's steps differ by about as much
    half_life: float = 25.0
    rate: float = 0.0
    bounds: tuple[float, float] = (0.0, 2.0)

    def run(self, steps: int, held: bool = True) -> tuple[list[float], list[float]]:
        """Filtered entropies, and values of the knob."""
        settings = EntropyConfig(
            low=0.2, high=0.4, half_life=self.half_life, target=0.3 if held else 0.0, proportional=5.0, integral=0.02,
            knob=self.knob, knob_min=self.bounds[0], knob_max=self.bounds[1], knob_rate=self.rate,
        )  # fmt: skip
        subject = ProRLController(
            with_settings(RunConfig(schedule=ScheduleConfig(entropy=settings)), {self.knob.key: 1.0})
        )
        dice = np.random.default_rng(5)
        entropy, filtered, knobs = self.start, [], [1.0] * (self.delay + 1)
        for step in range(1, steps + 1):
            moved = knobs[-1 - self.delay] - 1.0
            entropy = max(0.0, entropy + self.drift + self.gain * self.knob.direction * moved)
            seen = max(0.0, entropy + self.noise * dice.normal())
            filtered.append(subject.observe(step, {ENTROPY: seen}).metrics["controller/entropy_filtered"])
            knobs.append(get_setting(subject.settings(), self.knob.key))
        return filtered, knobs


FALLS = Plant(knob=Knob.positive_weight, start=0.3, drift=-4e-4, gain=2e-3)
PLANTS = {
    "falls": FALLS,
    "rises": replace(FALLS, drift=4e-4),
    "bonus": replace(FALLS, knob=Knob.entropy_coef),
    "temperature": replace(FALLS, knob=Knob.temperature, bounds=(0.5, 2.0)),
    "from above": replace(FALLS, start=1.5, drift=2e-4),
    "from below": replace(FALLS, start=0.02),
    "delayed": replace(FALLS, delay=20),
    "slow knob": replace(FALLS, rate=0.01),
}


@pytest.mark.parametrize("name", PLANTS)
def test_entropy_stays_in_its_band_in_a_closed_loop(name: str) -> None:
    plant = PLANTS[name]
    filtered, knobs = plant.run(3000)
    late = np.array(filtered[1000:])
    assert ((late >= 0.2) & (late <= 0.4)).mean() > 0.95
    assert np.mean(late) == pytest.approx(0.3, abs=0.02)
    assert all(plant.bounds[0] <= knob <= plant.bounds[1] for knob in knobs)
    if plant.rate:
        assert np.abs(np.diff(knobs)).max() <= plant.rate + 1e-12


@pytest.mark.parametrize("name", ["falls", "rises", "from above", "from below"])
def test_without_a_target_the_same_policies_leave_it(name: str) -> None:
    late = np.array(PLANTS[name].run(3000, held=False)[0][1000:])
    assert ((late < 0.2) | (late > 0.4)).mean() > 0.5


def test_a_knob_without_enough_authority_stays_at_its_bound_and_says_so() -> None:
    filtered, knobs = replace(FALLS, drift=-4e-3).run(500)
    assert knobs[-1] == 0.0
    assert filtered[-1] < 0.2
