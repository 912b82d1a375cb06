"""Adaptive coefficients against their formulas, and in a closed loop with something to control."""

import math

import pytest
from helpers.histories import controller
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import KLConfig, LossConfig, RecipeConfig
from prorl_mega.config.schedule import EntropyConfig, KLControlConfig
from prorl_mega.recipe.coefficient import next_entropy_coef, next_kl_factor
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


def test_entropy_coefficient_is_proportional_and_integral() -> None:
    control = EntropyConfig(target=1.0, proportional=0.1, integral=0.01, coef_max=1.0)
    coefficient, integral = next_entropy_coef(0.2, 0.0, 0.5, control)
    assert (coefficient, integral) == (pytest.approx(0.2 + 0.1 * 0.5 + 0.01 * 0.5), 0.5)
    coefficient, integral = next_entropy_coef(0.2, integral, 1.5, control)
    assert (coefficient, integral) == (pytest.approx(0.2 - 0.1 * 0.5), 0.0)


def test_the_integral_does_not_wind_up() -> None:
    control = EntropyConfig(target=1.0, integral=0.01, coef_max=0.05)
    integral = 0.0
    for _ in range(1000):
        coefficient, integral = next_entropy_coef(0.0, integral, 0.5, control)
        assert coefficient <= 0.05
    steps = 0
    while coefficient >= 0.05 and steps < 100:
        coefficient, integral = next_entropy_coef(0.0, integral, 1.5, control)
        steps += 1
    assert steps <= 2, "it takes as long to come down as it was too much"


def test_entropy_finds_its_target_in_a_closed_loop() -> None:
    """A policy that loses entropy at a constant rate, which the bonus works against."""
    subject = controller(
        entropy=EntropyConfig(target=0.8, proportional=0.05, integral=0.001, coef_min=0.0, coef_max=1.0)
    )
    entropy = 0.8
    for step in range(1, 3000):
        entropy += subject.hyperparams(step - 1).entropy * 0.5 - 0.01
        subject.observe(step, {ENTROPY: entropy})
    assert entropy == pytest.approx(0.8, abs=0.01)
    assert subject.hyperparams(3000).entropy == pytest.approx(0.02, rel=0.05)
