"""What is drawn, what is passed over, and that a resumed run draws the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import CurriculumConfig, CurriculumUnit
from prorl_mega.errors import CheckpointError
from prorl_mega.recipe.curriculum import UNITS, Curriculum
from prorl_mega.types import Group, Metrics, Problem

BY_ENTRY = CurriculumConfig(by=CurriculumUnit.entry, min_groups=1, memory=0.5)


class Numbers:
    """Problems a/0, b/1, a/2, … over `entries`, without end; with `period` the keys come back."""

    def __init__(self, entries: str = "ab", period: int = 0) -> None:
        self.entries, self.period, self.next = entries, period, 0
        self.weights: dict[str, float] = {}

    def draw(self, count: int, times: Mapping[str, int] | None = None) -> list[Problem]:
        numbers = range(self.next, self.next + count)
        self.next += count
        if self.period:
            numbers = [number % self.period for number in numbers]  # type: ignore[assignment]
        tasks = [self.entries[number % len(self.entries)] for number in numbers]
        return [Problem(key=f"{task}/{n}", task=task, prompt="p") for n, task in zip(numbers, tasks, strict=True)]

    def draw_metrics(self) -> Metrics:
        return {}

    def held_out(self, per_task: int) -> list[Problem]:
        return [Problem(key="held", task="a", prompt="p")] * per_task

    def set_weights(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert set(state) == {"next"}
        self.next = state["next"]


def scored(problems: list[Problem], right: dict[str, float]) -> list[Group]:
    """Groups whose pass rate is that of their entry."""
    return [scored_group([right[problem.task]] * 2, key=problem.key, task=problem.task) for problem in problems]


def test_every_unit_has_a_function() -> None:
    assert set(UNITS) | {CurriculumUnit.none} == set(CurriculumUnit)


def test_off_it_is_the_source() -> None:
    curriculum = Curriculum(Numbers(), CurriculumConfig())
    assert [each.key for each in curriculum.draw(3)] == ["a/0", "b/1", "a/2"]
    assert curriculum.observe(scored(curriculum.draw(8), {"a": 1.0, "b": 0.0})) == {}
    assert curriculum.state_dict() == {"next": 11}
    assert [each.key for each in curriculum.draw(2)] == ["b/11", "a/12"]
    curriculum.set_weights({"a": 2.0})
    assert len(curriculum.held_out(2)) == 2


def test_a_dull_entry_is_drawn_rarely_and_comes_back() -> None:
    source = Numbers()
    curriculum = Curriculum(source, BY_ENTRY)
    metrics = curriculum.observe(scored(curriculum.draw(4), {"a": 1.0, "b": 0.5}))
    assert metrics == {"curriculum/passed_over": 0.0, "curriculum/units": 2.0, "curriculum/dull": 1.0}
    drawn = curriculum.draw(110)
    # of a hundred problems of each, all of b and every tenth of a
    assert Counter(problem.task for problem in drawn) == {"b": 100, "a": 10}
    assert source.next == 4 + 200
    metrics = curriculum.observe(scored(drawn[-2:], {"a": 0.0, "b": 0.5}))
    assert metrics["curriculum/passed_over"] == 90
    assert metrics["curriculum/dull"] == 0, "0.5 · 1 + 0.5 · 0 is inside the band again"
    assert Counter(problem.task for problem in curriculum.draw(10)) == {"a": 5, "b": 5}


def test_problems_that_come_back_are_known_by_their_key() -> None:
    curriculum = Curriculum(
        Numbers(period=10), CurriculumConfig(by=CurriculumUnit.problem, min_groups=2, memory=0.9, rarely=0.5)
    )
    for _ in range(2):
        curriculum.observe(scored(curriculum.draw(10), {"a": 0.0, "b": 0.5}))
    drawn = Counter(problem.key for problem in curriculum.draw(30))
    assert {drawn[f"b/{n}"] for n in range(1, 10, 2)} == {4}
    assert {drawn[f"a/{n}"] for n in range(0, 10, 2)} == {2}


def test_a_rate_is_believed_after_min_groups() -> None:
    curriculum = Curriculum(Numbers("a"), CurriculumConfig(by=CurriculumUnit.entry, min_groups=3))
    for seen in (1, 2, 3):
        metrics = curriculum.observe(scored(curriculum.draw(1), {"a": 0.0}))
        assert metrics["curriculum/dull"] == (seen >= 3)


def test_groups_without_verdicts_say_nothing() -> None:
    curriculum = Curriculum(Numbers(), BY_ENTRY)
    assert curriculum.observe([scored_group([None, None], task="a")])["curriculum/units"] == 0


def test_where_everything_is_dull_drawing_still_ends() -> None:
    source = Numbers("a")
    curriculum = Curriculum(source, CurriculumConfig(by=CurriculumUnit.entry, min_groups=1, rarely=1e-6))
    curriculum.observe(scored(curriculum.draw(1), {"a": 1.0}))
    assert len(curriculum.draw(7)) == 7
    assert source.next <= 1 + 51 * 7 + 7


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), max_size=12), st.integers(0, 12), st.data())
def test_nothing_is_drawn_twice_counts_add_up_and_state_is_everything(
    steps: list[tuple[int, float]], cut: int, data: st.DataObject
) -> None:
    config = CurriculumConfig(by=data.draw(st.sampled_from(CurriculumUnit)), min_groups=1, memory=0.7, rarely=0.3)
    source = Numbers("abc")
    curriculum = Curriculum(source, config)
    keys: list[str] = []
    passed_over = 0.0
    for index, (count, rate) in enumerate(steps):
        if index == cut:
            saved = json.loads(json.dumps(curriculum.state_dict()))
            source = Numbers("abc")
            curriculum = Curriculum(source, config)
            curriculum.load_state_dict(saved)
        drawn = curriculum.draw(count)
        assert len(drawn) == count
        keys += [problem.key for problem in drawn]
        twin = Curriculum(Numbers("abc"), config)
        twin.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
        groups = scored(drawn, {"a": rate, "b": 0.5, "c": 1.0})
        metrics = curriculum.observe(groups)
        assert twin.observe(groups) == metrics
        assert twin.draw(5) == foreseen(curriculum, 5)
        passed_over += metrics.get("curriculum/passed_over", 0.0)
    assert len(set(keys)) == len(keys)
    assert source.next - len(keys) == passed_over


def foreseen(curriculum: Curriculum, count: int) -> list[Problem]:
    """What it would draw, without drawing it."""
    state = json.loads(json.dumps(curriculum.state_dict()))
    drawn = curriculum.draw(count)
    curriculum.load_state_dict(state)
    return drawn


def test_state_of_a_run_without_a_curriculum_starts_one() -> None:
    curriculum = Curriculum(Numbers(), BY_ENTRY)
    curriculum.load_state_dict({"next": 5})
    assert curriculum.draw(1)[0].key == "b/5"


def test_rates_of_other_units_are_forgotten() -> None:
    by_problem = Curriculum(Numbers(), CurriculumConfig(by=CurriculumUnit.problem))
    by_problem.observe(scored(by_problem.draw(2), {"a": 1.0, "b": 0.5}))
    state = json.loads(json.dumps(by_problem.state_dict()))
    curriculum = Curriculum(Numbers(), BY_ENTRY)
    curriculum.load_state_dict(state)
    assert curriculum.state_dict()["curriculum"]["rates"] == {}
    by_problem.load_state_dict(state)
    assert len(by_problem.state_dict()["curriculum"]["rates"]) == 2


@pytest.mark.parametrize("broken", [{"rates": {"a": 1}}, {}, 7, {"rates": {"a": ["x", 1]}, "credit": {}}])
def test_a_broken_state_is_an_error(broken: object) -> None:
    with pytest.raises(CheckpointError, match="curriculum is broken"):
        Curriculum(Numbers(), BY_ENTRY).load_state_dict({"next": 0, "curriculum": broken})


def test_what_a_dull_entry_has_earned_is_part_of_the_state() -> None:
    """Rarely = 0.1: in the middle of ten offers a resumed run must not begin to count again."""
    curriculum = Curriculum(Numbers(), BY_ENTRY)
    curriculum.observe(scored(curriculum.draw(2), {"a": 1.0, "b": 0.5}))
    curriculum.draw(6)
    resumed = Curriculum(Numbers(), BY_ENTRY)
    resumed.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    drawn = [problem.key for problem in curriculum.draw(8)]
    assert [problem.key for problem in resumed.draw(8)] == drawn
    assert sum(key.startswith("a/") for key in drawn) == 1


def test_problems_that_a_step_left_open_come_first_when_a_run_goes_on_and_only_then() -> None:
    curriculum = Curriculum(Numbers(), CurriculumConfig())
    drawn = curriculum.draw(6)
    curriculum.observe(scored(drawn[:3], {"a": 0.5, "b": 0.5}), still_open=drawn[3:])
    state = json.loads(json.dumps(curriculum.state_dict()))
    assert [problem.key for problem in curriculum.draw(2)] == ["a/6", "b/7"]

    resumed = Curriculum(Numbers(), CurriculumConfig())
    resumed.load_state_dict(state)
    again = resumed.draw(2)
    assert again == drawn[3:5], "as they were drawn, with all that belongs to them"
    resumed.observe([], still_open=again)
    # In a checkpoint of a step that has not drawn all of them again, the others are still there.
    saved = json.loads(json.dumps(resumed.state_dict()))
    later = Curriculum(Numbers(), CurriculumConfig())
    later.load_state_dict(saved)
    assert [problem.key for problem in later.draw(5)] == ["b/3", "a/4", "b/5", "a/6", "b/7"]


def test_open_problems_are_not_offered_again_in_the_same_step() -> None:
    curriculum = Curriculum(Numbers(), CurriculumConfig())
    drawn = curriculum.draw(3)
    curriculum.observe([], still_open=drawn)
    assert curriculum.state_dict()["offered"] == {problem.key: 1 for problem in drawn}


@pytest.mark.parametrize("broken", [7, [{"key": "a"}], [7], [{"key": 7, "task": "a", "prompt": "p"}]])
def test_broken_open_problems_are_an_error(broken: object) -> None:
    with pytest.raises(CheckpointError, match="still to be trained on are broken"):
        Curriculum(Numbers(), BY_ENTRY).load_state_dict({"next": 0, "open": broken})
