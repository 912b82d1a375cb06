"""Two evaluations are compared only if they measured the same thing; counts and places of files may differ."""

from __future__ import annotations

from typing import Any

import pytest

from prorl_mega.config.keys import with_settings
from prorl_mega.config.schedule import ScheduleConfig, StageConfig
from prorl_mega.config.schema import ModelConfig, RunConfig, TaskConfig, TasksConfig
from prorl_mega.evaluation.conditions import Conditions, conditions, described, incomparable, remarks


def recorded(*, problems: int = 64, limit: int | None = None, options: Any = None, **changes: Any) -> Conditions:
    options = {"path": "data/a.jsonl", "schema": "aime"} if options is None else options
    config = RunConfig(
        model=ModelConfig(path="base"),
        tasks=TasksConfig(mixture={"math": TaskConfig(name="math", options=options)}),
    )
    config = with_settings(config, {key.replace("__", "."): value for key, value in changes.items()})
    return conditions(config, problems_per_task=problems, max_tokens=limit)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (recorded(evaluation__temperature=1.0), ["evaluation.temperature: 0.6 and 1.0"]),
        (recorded(evaluation__top_p=1.0), ["evaluation.top_p: 0.95 and 1.0"]),
        (recorded(limit=100), ["rollout.max_response_tokens: 8192 and 100"]),
        (recorded(rollout__max_response_tokens=100), ["rollout.max_response_tokens: 8192 and 100"]),
        (recorded(rollout__max_prompt_tokens=99), ["rollout.max_prompt_tokens: 1024 and 99"]),
        (
            recorded(options={"path": "data/a.jsonl", "schema": "gsm", "strict": True}),
            [
                "tasks.mixture.math.options.schema: aime and gsm",
                "tasks.mixture.math.options.strict: (absent) and True",
            ],
        ),
        (recorded(tasks__mixture={}), ["tasks.mixture.math.name: math and (absent)"]),
        (recorded(), []),
        (recorded(options={"path": "moved/a.jsonl", "schema": "aime"}), []),
        (recorded(model__path="trained", seed=9, evaluation__samples=4, problems=8), []),
        (recorded(tasks__workers=9, tasks__timeout_s=1.0, rollout__temperature=0.5, optimizer__learning_rate=1.0), []),
        (recorded(evaluation__problems_per_task=9, evaluation__final_problems_per_task=9), []),
        ({}, []),  # version 0.1 recorded none
        ({key: value for key, value in recorded().items() if key != "model.precision"}, []),  # did not exist then
    ],
)
def test_what_makes_two_results_incomparable(other: Conditions, named: list[str]) -> None:
    found = incomparable(recorded(), other)
    assert found[: len(named)] == named
    assert bool(found) is bool(named)


def test_a_weight_is_no_condition_and_the_limit_is_that_of_the_longest_stage() -> None:
    stages = [StageConfig(steps=5), StageConfig(rollout={"max_response_tokens": 9000})]
    settings = recorded(schedule=ScheduleConfig(stages=stages))
    assert settings["rollout.max_response_tokens"] == 9000
    assert not [key for key in settings if key.endswith(".weight")]
    assert incomparable(recorded(), settings) == ["rollout.max_response_tokens: 8192 and 9000"]


def test_what_the_reader_is_told() -> None:
    assert described(recorded(limit=64)) == "temperature 0.6, top-p 0.95, 16 samples per problem, at most 64 tokens"
    assert described({}) == ""
    assert remarks(recorded(), recorded(seed=3)) == []
    counts = remarks(recorded(), recorded(problems=8, evaluation__samples=4))
    assert counts == ["Compared on what both have: evaluation.samples: 16 and 4; evaluation.problems: 64 and 8."]
    assert "not known" in remarks({}, recorded())[0]
