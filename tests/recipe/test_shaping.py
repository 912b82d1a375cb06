"""Rewards of answers by length and ending, each formula by itself."""

from __future__ import annotations

import math

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import ShapingConfig, TerminationPenalty
from prorl_mega.recipe.shaping import (
    WHEN_TRUNCATED,
    cosine_length_reward,
    length_penalty_is_on,
    overlong_punishment,
    shape_rewards,
)

LIMIT = 100


def shaped(rewards: list[float | None], lengths: list[int], shaping: ShapingConfig, step: int = 0) -> list[float]:
    group = scored_group(rewards, lengths=lengths, limit=LIMIT)
    shape_rewards([group], shaping, step, LIMIT)
    return group.shaped_rewards()


def test_every_penalty_has_a_function() -> None:
    assert set(WHEN_TRUNCATED) == set(TerminationPenalty)


def test_by_default_rewards_are_verdicts() -> None:
    group = scored_group([1.0, None, 0.25], lengths=[3, 4, LIMIT], limit=LIMIT)
    assert shape_rewards([group], ShapingConfig(), 0, LIMIT) == {}
    assert group.shaped_rewards() == [1.0, 0.25]


def test_termination_penalty_by_scale_touches_truncated_answers() -> None:
    shaping = ShapingConfig(termination=TerminationPenalty.scale, termination_scale=0.1)
    assert shaped([1.0, 1.0, 0.0], [5, LIMIT, LIMIT], shaping) == pytest.approx([1.0, 0.1, 0.0])


def test_termination_penalty_of_a_fixed_reward() -> None:
    shaping = ShapingConfig(termination=TerminationPenalty.fixed, termination_reward=-0.5)
    assert shaped([1.0, 1.0, 0.0], [5, LIMIT, LIMIT], shaping) == [1.0, -0.5, -0.5]


@pytest.mark.parametrize("termination", TerminationPenalty)
def test_no_termination_penalty_raises_a_reward_below_0(termination: TerminationPenalty) -> None:
    shaping = ShapingConfig(termination=termination, termination_scale=0.1, termination_reward=-0.5)
    assert shaped([-0.9, -2.0], [LIMIT, LIMIT], shaping) == [-0.9, -2.0]


@pytest.mark.parametrize(
    ("tokens", "wanted"), [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1.0), (120, -1.0)]
)
def test_over_long_buffer(tokens: int, wanted: float) -> None:
    assert overlong_punishment(tokens, LIMIT, 20) == pytest.approx(wanted, abs=1e-12)


def test_over_long_buffer_in_the_reward() -> None:
    shaping = ShapingConfig(overlong_buffer=20, overlong_factor=0.5)
    assert shaped([1.0, 1.0, 0.0], [80, 90, LIMIT], shaping) == pytest.approx([1.0, 0.75, -0.5])


@pytest.mark.parametrize(("tokens", "wanted"), [(0, 0.5), (50, -0.25), (100, -1.0), (130, -1.0)])
def test_cosine(tokens: int, wanted: float) -> None:
    assert cosine_length_reward(tokens, LIMIT, -1.0, 0.5) == pytest.approx(wanted, abs=1e-12)
    formula = -1.0 + 0.5 * (0.5 + 1.0) * (1 + math.cos(math.pi * min(tokens, 100) / 100))
    assert cosine_length_reward(tokens, LIMIT, -1.0, 0.5) == pytest.approx(formula)


def test_cycle_of_the_length_penalty() -> None:
    shaping = ShapingConfig(length_weight=0.3, length_on_steps=100, length_off_steps=500)
    on = [step for step in range(1300) if length_penalty_is_on(shaping, step)]
    assert on == [*range(100), *range(600, 700), *range(1200, 1300)]
    always = ShapingConfig(length_weight=0.3, length_on_steps=100, length_off_steps=0)
    assert all(length_penalty_is_on(always, step) for step in range(250))
    assert not any(length_penalty_is_on(ShapingConfig(), step) for step in range(250))


def test_length_penalty_in_the_reward() -> None:
    shaping = ShapingConfig(length_weight=0.3, length_reward_min=-1.0, length_reward_max=0.0, length_on_steps=2)
    assert shaped([1.0, 0.0], [50, LIMIT], shaping, step=1) == pytest.approx([1.0 - 0.15, -0.3])
    assert shaped([1.0, 0.0], [50, LIMIT], shaping, step=2) == [1.0, 0.0]


def test_metrics() -> None:
    groups = [scored_group([1.0, None, 1.0], lengths=[5, 6, LIMIT], limit=LIMIT)]
    shaping = ShapingConfig(termination=TerminationPenalty.scale, termination_scale=0.0)
    assert shape_rewards(groups, shaping, 0, LIMIT) == {
        "reward/shaped": 0.5,
        "reward/shaping": -0.5,
        "reward/length_penalty_on": 0.0,
    }


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1)), st.integers(1, LIMIT)), max_size=8),
    st.sampled_from(TerminationPenalty),
    st.integers(0, LIMIT),
    st.floats(0, 2),
    st.integers(0, 700),
)
def test_verdicts_stay_and_rewards_are_bounded(
    samples: list[tuple[float | None, int]], termination: TerminationPenalty, buffer: int, weight: float, step: int
) -> None:
    rewards, lengths = [each[0] for each in samples], [each[1] for each in samples]
    group = scored_group(rewards, lengths=lengths, limit=LIMIT)
    shaping = ShapingConfig(termination=termination, overlong_buffer=buffer, length_weight=weight)
    shape_rewards([group], shaping, step, LIMIT)
    verdicts = [reward for reward in rewards if reward is not None]
    assert group.rewards() == verdicts
    found = group.shaped_rewards()
    assert len(found) == len(verdicts)
    assert all(-0.5 - 1 - weight <= each <= 1 for each in found)
    twice = list(found)
    shape_rewards([group], shaping, step, LIMIT)
    assert group.shaped_rewards() == twice, "shaping starts from the verdict, however often it is called"
