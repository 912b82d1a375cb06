"""Shares by pass rate: the formula, the floor, and that a resumed run has the same weights."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import CurriculumConfig
from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.recipe.mixture_weights import MixtureWeights
from prorl_mega.tasks import Mixture
from prorl_mega.types import Group

CONFIG = CurriculumConfig(weigh_entries=True, min_groups=1, memory=0.5, weight_floor=0.2)
BASE = {"a": 1.0, "b": 1.0, "c": 2.0}


def groups(**rates: float) -> list[Group]:
    return [scored_group([rate] * 2, task=entry) for entry, rate in rates.items()]


def mixture() -> Curriculum:
    entries = {entry: TaskConfig(name="arithmetic", weight=weight) for entry, weight in BASE.items()}
    made = Curriculum(Mixture(TasksConfig(mixture=entries), seed=3), CONFIG)
    made.set_weights(BASE)
    return made


def test_the_formula() -> None:
    weighting = MixtureWeights(CONFIG)
    assert weighting.use(BASE) == BASE, "nothing is known yet"
    metrics = weighting.observe(groups(a=0.5, b=1.0, c=0.0))
    assert weighting.in_force() == pytest.approx({"a": 1.0, "b": 0.2, "c": 0.4})
    assert metrics == pytest.approx(
        {"share/a": 1 / 1.6, "share/b": 0.2 / 1.6, "share/c": 0.4 / 1.6,
         "pass_rate/a": 0.5, "pass_rate/b": 1.0, "pass_rate/c": 0.0}
    )  # fmt: skip
    weighting.observe(groups(b=0.5))
    assert weighting.in_force()["b"] == pytest.approx(0.2 + 0.8 * 4 * 0.75 * 0.25)
    assert weighting.use({"a": 3.0, "b": 0.0, "c": 0.0})["a"] == pytest.approx(3.0), "settings of another stage"


def test_a_rate_is_believed_after_min_groups_and_needs_verdicts() -> None:
    weighting = MixtureWeights(CurriculumConfig(weigh_entries=True, min_groups=2))
    weighting.use(BASE)
    weighting.observe([*groups(a=1.0), scored_group([None, None], task="a")])
    assert weighting.in_force()["a"] == 1.0
    weighting.observe(groups(a=1.0))
    assert weighting.in_force()["a"] == pytest.approx(0.2)


def test_the_shares_of_what_is_drawn_follow() -> None:
    problems = mixture()
    problems.observe(groups(a=0.5, b=0.0, c=0.0))
    counts = Counter(problem.task for problem in problems.draw(800))
    assert [counts[entry] for entry in "abc"] == pytest.approx([500, 100, 200], abs=4)
    problems.set_weights(BASE)  # as at the start of every step
    assert Counter(problem.task for problem in problems.draw(800))["a"] == pytest.approx(500, abs=4)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.dictionaries(st.sampled_from("abc"), st.floats(0, 1))), max_size=8),
    st.integers(0, 8),
)
def test_a_resumed_run_has_the_same_weights(steps: list[tuple[int, dict[str, float]]], cut: int) -> None:
    whole, resumed = mixture(), mixture()
    for number, (count, rates) in enumerate(steps):
        if number == cut:
            state = json.loads(json.dumps(resumed.state_dict()))
            resumed = mixture()
            resumed.load_state_dict(state)
            resumed.set_weights(BASE)
        assert resumed.draw(count) == whole.draw(count)
        assert resumed.observe(groups(**rates)) == whole.observe(groups(**rates))
        shares = [value for name, value in whole.observe([]).items() if name.startswith("share/")]
        assert sum(shares) == pytest.approx(1.0)
        assert min(shares) >= 0.2 * 1 / 4 - 1e-9, "no entry starves"
    assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize("broken", [[], {"a": 1}, {"a": [0.5]}, {"a": ["x", 1]}, {"a": [1.5, 1]}, {"a": [0.5, 0]}])
def test_a_broken_state_is_an_error(broken: Any) -> None:
    problems = mixture()
    with pytest.raises(CheckpointError, match="state of the mixture's weights is broken"):
        problems.load_state_dict(problems.state_dict() | {"weights": broken})


def test_off_nothing_is_weighed_or_kept() -> None:
    off = Curriculum(Mixture(TasksConfig(mixture={"a": TaskConfig(name="arithmetic")}), seed=3), CurriculumConfig())
    assert off.observe(groups(a=1.0)) == {}
    assert set(off.state_dict()) == {"drawn", "cursors"}
