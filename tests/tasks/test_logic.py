"""Entries of reasoning-gym from files."""

import json
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.errors import DataError
from prorl_mega.tasks import create
from prorl_mega.tasks.logic.puzzle import Logic

SUM = {"question": "3 + 4 =", "answer": "7", "metadata": {"source_dataset": "chain_sum", "source_index": 0}}
GRID = {
    "question": "Continue the pattern.",
    "answer": "1 2\n3 4",
    "metadata": {"source_dataset": "rearc", "output": [[1, 2], [3, 4]], "input": [[1, 2], [3, 4]]},
}
COLORS = {
    "question": "Colour the graph.",
    "answer": None,
    "metadata": {
        "source_dataset": "graph_color",
        "possible_answer": {"0": 1, "1": 2},
        "puzzle": {"vertices": [0, 1], "edges": [[0, 1]], "num_colors": 2, "color_options": [1, 2]},
    },
}
SORTING = {
    "question": "Sort 2, 1.",
    "answer": "['1.0', '2.0']",
    "metadata": {"source_dataset": "number_sorting", "direction": "ascending"},
}


def loaded(folder: Path, *entries: dict[str, Any], **options: Any) -> Logic:
    path = folder / "puzzles.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": each["question"], "entry": each}) for each in entries))
    task = create("logic", "puzzles", {"path": str(path), **options})
    assert isinstance(task, Logic)
    task.load()
    return task


def test_entries_are_scored_by_their_own_scorers(tmp_path: Path) -> None:
    task = loaded(tmp_path, SUM, GRID, COLORS, SORTING)
    wrong = {
        "chain_sum": "8",
        "rearc": "1 2\n3 5",
        "graph_color": '{"0": 1, "1": 1}',
        "number_sorting": "['1.5', '2.5']",
    }
    for index in range(4):
        problem = task.problem(index, seed=1)
        assert problem.solution is not None
        assert task.score(problem, problem.solution).reward == 1.0
        text = wrong[problem.entry["entry"]["metadata"]["source_dataset"]]
        assert task.score(problem, f"<answer>{text}</answer>").reward == 0.0
        assert task.score(problem, "").reward == 0.0
        assert json.loads(json.dumps(problem.entry)) == problem.entry


def test_published_files_can_be_read() -> None:
    task = create(
        "logic", "puzzles", {"path": str(Path(__file__).parents[1] / "data" / "files" / "reasoning_gym.jsonl")}
    )
    task.load()
    size = task.size()
    assert size
    for index in range(size):
        problem = task.problem(index, seed=1)
        assert problem.solution is None or task.score(problem, problem.solution).reward == 1.0


def test_partial_credit_is_an_option(tmp_path: Path) -> None:
    rewards = {}
    for credit in ("none", "progress", "all"):
        task = loaded(tmp_path, SUM, credit=credit)
        rewards[credit] = task.score(task.problem(0, seed=1), "<answer>7 or 8</answer>").reward
    assert rewards == {"none": 0.0, "progress": 0.0, "all": pytest.approx(1 / 6)}


def test_the_form_of_the_answer_is_asked_for_unless_the_prompt_does(tmp_path: Path) -> None:
    assert loaded(tmp_path, SUM).problem(0, 1).prompt.endswith("between <answer> and </answer>.")
    assert loaded(tmp_path, SUM, request=False).problem(0, 1).prompt == "3 + 4 ="


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {"source_dataset": "chain_summ"}}, "did you mean 'chain_sum'"),
        ({"metadata": {"source_dataset": "codeio"}}, "executing programs"),
        ({"answer": 7}, "must have a question and an answer"),
        ({"answer": "__import__('os')", "metadata": {"source_dataset": "number_sorting"}}, "must be a formula"),
        ({"metadata": {"source_dataset": "bitwise_arithmetic", "problem": "exit()"}}, "must be a formula"),
        ({"metadata": {"source_dataset": "bitwise_arithmetic"}}, "must be a formula"),
        ({"metadata": {"source_dataset": "simple_integration", "integrand": "Integral(x)"}}, "must be a formula"),
    ],
)
def test_broken_entries_are_refused_with_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        loaded(tmp_path, SUM, {**SUM, **change})
    assert "puzzles.jsonl:2" in str(caught.value)
