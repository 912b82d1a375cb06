"""Where little can be said the boundary says so, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.boundary import main
from prorl_mega.errors import ExitCode
from prorl_mega.run.evaluations import write_evaluation

Counts = Mapping[str, list[tuple[int, int]]]
"""(samples, solved) of the problems of a task."""


def write(directory: Path, label: str, counts: Counts, **record: Any) -> str:
    problems = [
        {"key": f"{task}/{i}", "task": task, "samples": n, "solved": c, "mean_reward": c / n if n else None} | record
        for task, of_task in counts.items()
        for i, (n, c) in enumerate(of_task)
    ]
    write_evaluation(directory, label=label, step=0, settings={"seed": 1}, metrics={}, problems=problems)
    return str(directory / f"{label}.json")


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def compared(base: Counts, last: Counts, *arguments: str) -> str:
        files = [write(tmp_path / "e", "base", base), write(tmp_path / "e", "last", last)]
        assert main([*files, *arguments, "--output", str(tmp_path / "out")]) == 0
        return capsys.readouterr().out

    return compared


def of(*solved: int, samples: int = 16) -> list[tuple[int, int]]:
    return [(samples, each) for each in solved]


def test_a_task_at_the_floor_or_at_the_ceiling_did_not_diminish(said: Any) -> None:
    text = said(
        {"hard": of(0, 0), "easy": of(16, 16), "down": of(4, 0)},
        {"hard": of(0, 0), "easy": of(16, 16), "down": of(0, 0)},
    )
    regimes = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip(" |") for line in text.splitlines()[:8]}
    assert (regimes["hard"], regimes["easy"]) == ("at the floor (100%)", "at the ceiling (100%)")
    assert regimes["down"].startswith("Diminish")
    assert "Diminish (100%) |" not in text.replace(regimes["down"], "")


def test_what_cannot_be_fitted_is_not(said: Any) -> None:
    two_bases = {f"t{i}": of(8 * (i % 2), 8 * (i % 2)) for i in range(8)}
    text = said(two_bases, {task: of(12, 12) for task in two_bases})
    assert (
        "Nothing can be fitted: a line needs at least 5 tasks with 4 different base boundaries; here are 8 with 2."
        in text
    )
    assert "R²" not in text
    few = {f"t{i}": of(i, i) for i in range(4)}
    assert "here are 4 with 4." in said(few, few, "--k", "1")
    enough = {f"t{i}": of(0, i) for i in range(5)}
    assert "R² = " in said(enough, {task: of(1, 3) for task in enough}, "--k", "2")
    flat = {task: [(n, min(n, c + 1)) for n, c in counts] for task, counts in enough.items()}
    assert "all gains are equal, so there is no R²" in said(enough, flat, "--k", "1")


def test_more_k_than_samples(said: Any) -> None:
    text = said({"a": of(1, 2)}, {"a": of(3, 4)}, "--k", "64")
    assert "The boundary is at k = 16, not at 64: that is as far as all models were sampled" in text
    text = said({"a": of(1, 2), "b": of(1, samples=8)}, {"a": of(3, 4), "b": of(1)}, "--k", "16")
    assert "The boundary is at k = 8 for some tasks, not at 16" in text
    assert "The boundary is at" not in said({"a": of(1, 2)}, {"a": of(3, 4)}, "--k", "16")


def test_other_numbers_of_samples(said: Any) -> None:
    text = said({"a": of(1, 0, samples=64)}, {"a": of(3, 4)}, "--k", "16")
    assert "Samples per problem: base 64, last 16. pass@k is compared at the same k for all" in text
    text = said({"a": [(16, 1), (15, 1)]}, {"a": of(3, 4)}, "--k", "8")
    assert "Samples per problem: base 15 to 16, last 16." in text
    assert "Samples per problem" not in said({"a": of(1, 0)}, {"a": of(3, 4)})


def test_other_problems(said: Any) -> None:
    text = said({"a": of(1, 0, 1)}, {"a": of(3, 4), "b": of(1, 1, 1, 1)})
    assert "Compared are the 2 problems of which all models have verdicts; base has 1 more, last has 4 more" in text
    text = said({"a": [*of(1, 0, 1), (0, 0)]}, {"a": of(3, 4, 1, 1)})
    assert "Compared are the 3 problems of which all models have verdicts; base has 1 more, last has 1 more" in text


def test_one_unlucky_problem_does_not_hold_all_others_down(said: Any) -> None:
    text = said({"a": [*of(1, 0, 1), (2, 0)]}, {"a": of(3, 4, 1, 1)})
    assert (
        "1 problems are left out, because a model has less than half of its usual number of verdicts on them: a/3."
        in text
    )
    assert "| a | 3 | 16 |" in text


def test_nothing_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path, "base", {"a": of(1)}), write(tmp_path, "last", {"a": [(0, 0)]})]
    assert main(files) == ExitCode.DATA
    assert "base and last have no problem in common that was sampled in all of them" in capsys.readouterr().err
