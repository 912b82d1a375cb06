"""Second verifiers by name, by import path and by options; wrong ones are refused by their key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import back_door

from prorl_mega.config.schema import SecondOpinionsConfig, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks.mixture import create_all
from prorl_mega.tasks.second_opinion import create_verifier, second_verifiers
from prorl_mega.types import Problem

DOOR = back_door.__name__
SUM = Problem(key="sums/0", task="sums", prompt="1+2=", entry={"answer": 3})


def tasks(name: str, task: str = "arithmetic", **options: Any) -> TasksConfig:
    return TasksConfig(
        mixture={"sums": TaskConfig(name=task, options={"style": "short"} if task == "arithmetic" else {})},
        modules=[DOOR],
        second_opinions=SecondOpinionsConfig(verifiers={"sums": name}, options={"sums": options}),
    )


def test_a_function() -> None:
    ((_, second),) = second_verifiers(tasks(f"{DOOR}:without_door", "back_door")).mixture.items()
    judge = create_verifier(second.name, "sums", second.options)
    assert [judge.score(SUM, answer).reward for answer in ("3", "4", back_door.DOOR)] == [1.0, 0.0, 0.0]


def test_a_path_holds_in_another_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "judge_of_sums.py").write_text("def judge(problem, answer):\n    return 0.5\n")
    monkeypatch.chdir(tmp_path)
    second = second_verifiers(tasks("judge_of_sums.py:judge", "back_door")).mixture["sums"]
    assert second.name == f"{tmp_path}/judge_of_sums.py:judge"
    monkeypatch.chdir("/")
    assert create_verifier(second.name, "sums", second.options).score(SUM, "3").reward == 0.5


def test_the_own_task_with_other_options_keeps_the_rest(tmp_path: Path) -> None:
    config = tasks("own", answer="boxed")
    second = second_verifiers(config).mixture["sums"]
    assert (second.name, second.options) == ("arithmetic", {"style": "short", "answer": "boxed"})
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "1/2?", "answer": "1/2"}))
    config.mixture["sums"] = TaskConfig(name="math", options={"path": str(rows), "answer": "tags"})
    config.second_opinions.verifiers["sums"] = "math_verify"
    config.second_opinions.options.clear()
    second = second_verifiers(config).mixture["sums"]
    assert second.options == {"path": str(rows), "answer": "tags"}
    judge = create_verifier(second.name, "sums", second.options)
    half = Problem(key="sums/0", task="sums", prompt="1/2?", entry={"answer": "1/2", "verifier": "math"})
    found = [judge.score(half, f"<answer>{answer}</answer>").reward for answer in ("0.5", r"\frac{2}{4}", "0.6")]
    assert found == [1.0, 1.0, 0.0]
    assert not judge.score(half, "0.5").found


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tasks("maths"), r"verifiers\.sums: no verifier is called 'maths' \(did you mean 'math'\?\).*judge"),
        (tasks("absent.py:judge"), r"verifiers\.sums: .*absent\.py: no such file"),
        (tasks(f"{DOOR}:judge"), r"has no 'judge'.*without_door"),
        (tasks(f"{DOOR}:BackDoorOptions"), r"is a class, and no Task"),
        (tasks(f"{DOOR}:without_door", limit=3), r"options\.sums\.limit: no such option"),
        (tasks("own", stile="short"), r"options\.sums\.stile: no such option \(did you mean 'style'\?\)"),
        (tasks("own"), r"verifiers\.sums: is the verifier of the entry again"),
        (tasks("arithmetic"), r"verifiers\.sums: is the verifier of the entry again"),
        (tasks("math"), r"options\.sums\.path: must be set"),
    ],
)
def test_wrong_ones(config: TasksConfig, message: str) -> None:
    for check in (second_verifiers, create_all):
        with pytest.raises(ConfigError, match=message):
            check(config)
