"""Evaluations on the way: when each begins and when its numbers are recorded, beside training and between steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from prorl_mega import validation
from prorl_mega.config.schema import EvaluationConfig, RunConfig, ScheduleConfig
from prorl_mega.run.checkpoints import EVALUATION_BEGAN
from prorl_mega.types import Metrics
from prorl_mega.validation import Evaluation, Validation

STEPS, EVERY = 9, 3


class Beside:
    """An evaluation that takes `takes` steps."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.began: int | None = None
        self.now = 0
        self.limits: list[int] = []

    def begin(self, step: int, problems: list[str], sampling: Any) -> None:
        assert self.began is None
        assert problems == ["held out"] * 5
        self.began = step
        self.limits.append(sampling.max_tokens)

    def has_ended(self) -> bool:
        assert self.began is not None
        return self.now - self.began >= self.takes

    def results(self, step: int) -> Metrics:
        began, self.began = self.began, None
        assert began is not None
        return {"began": float(began)}


def validation_of(beside: Beside | None, saved: dict[str, Any] | None = None) -> Validation:
    config = RunConfig(schedule=ScheduleConfig(steps=STEPS, evaluate_every=EVERY))
    config.evaluation = EvaluationConfig(problems_per_task=5)
    limits = SimpleNamespace(rollout=SimpleNamespace(max_response_tokens=64))
    parts = SimpleNamespace(
        beside=beside,
        problems=SimpleNamespace(held_out=lambda count: ["held out"] * count),
        controller=SimpleNamespace(settings=lambda: limits),
    )
    run = SimpleNamespace(saved_state=saved, due=lambda step, every: step % every == 0 or step == STEPS)
    return Validation(parts, config, run)  # type: ignore[arg-type]


def recorded(validation: Validation, beside: Beside, *, first: int = 0) -> dict[int, float]:
    """The step that each recorded evaluation has begun after, by the step that recorded it."""
    found = {}
    validation.begin_again(first)
    for step in range(first + 1, STEPS + 1):
        beside.now = step
        if validation.has_results(step):
            found[step] = validation.results(step)["began"]
        validation.begin(step)
    return found


@pytest.mark.parametrize(
    ("takes", "expected"),
    [(1, {4: 3, 7: 6}), (2, {5: 3, 8: 6}), (3, {6: 3, 9: 6}), (100, {6: 3, 9: 6})],
)
def test_an_evaluation_is_recorded_when_it_ends_and_before_the_next_one_begins(
    takes: int, expected: dict[int, float]
) -> None:
    beside = Beside(takes)
    assert recorded(validation_of(beside), beside) == expected
    assert beside.began is None, "nothing is open when the final evaluation begins"
    assert beside.limits == [64, 64]


@pytest.mark.parametrize(("saved", "expected"), [({}, {9: 6}), ({EVALUATION_BEGAN: 3}, {5: 4, 7: 6})])
def test_one_that_was_open_at_a_checkpoint_begins_again(saved: dict[str, Any], expected: dict[int, float]) -> None:
    beside = Beside(1 if saved else 3)
    assert recorded(validation_of(beside, saved), beside, first=4) == expected


def test_between_steps_each_is_recorded_where_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def evaluate(parts: Any, config: Any, run: Any, count: int, limit: int) -> Evaluation:
        asked.append((count, limit))
        return Evaluation({"evaluation/pass@1": 0.5}, [])

    monkeypatch.setattr(validation, "evaluate", evaluate)
    between = validation_of(None, {EVALUATION_BEGAN: 3})
    between.begin_again(4)
    found = []
    for step in range(1, STEPS + 1):
        if between.has_results(step):
            found.append(step)
            assert between.results(step) == {"evaluation/pass@1": 0.5}
        between.begin(step)
    assert found == [3, 6, 9]
    assert asked == [(5, 64)] * 3
