"""Tasks that read files: order, rows that are left out, prompts that do not fit, files that change between restarts."""

import json
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.schema import EvaluationConfig, TaskConfig, TasksConfig
from prorl_mega.errors import CheckpointError, ConfigError, DataError
from prorl_mega.tasks import Mixture, create
from prorl_mega.tasks.objection import length_check
from prorl_mega.tasks.row_task import RowTask


def write(path: Path, count: int, **last: Any) -> Path:
    rows: list[dict[str, Any]] = [{"prompt": f"What is {i}+1?", "answer": i + 1} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, [*rows, last] if last else rows)))
    return path


def task(path: Path, **options: Any) -> RowTask:
    made = create("math", "file", {"path": str(path), **options})
    assert isinstance(made, RowTask)
    made.load()
    return made


def mixture(path: Path, most: int | None = None, **options: Any) -> Mixture:
    """A file and a generator; prompts have at most `most` characters."""
    entry = TaskConfig(name="math", options={"path": str(path), **options})
    check = most and length_check(lambda problem: len(problem.prompt), most, "rollout.max_prompt_tokens")
    return Mixture(TasksConfig(mixture={"file": entry, "sums": TaskConfig(name="arithmetic")}), 1, check or None)


def test_every_row_comes_once_per_pass_and_in_another_order(tmp_path: Path) -> None:
    made = task(write(tmp_path / "data.jsonl", 50), suffix=" Box it.")
    passes = [[made.problem(i, seed=3) for i in range(start, start + 50)] for start in (0, 50)]
    keys = [[problem.key for problem in each] for each in passes]
    assert [sorted(each) for each in keys] == [sorted(f"file/{i}" for i in range(1, 51))] * 2
    assert keys[0] != keys[1]
    assert all(problem.prompt.endswith("+1? Box it.") for problem in passes[0])
    assert made.problem(7, seed=3) == task(tmp_path / "data.jsonl", suffix=" Box it.").problem(7, seed=3)
    assert [made.problem(i, seed=4).key for i in range(50)] != keys[0]


def test_broken_rows_are_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", 49, prompt="x")
    with pytest.raises(DataError, match=r"data\.jsonl:50: field 'answer' is missing"):
        task(path)
    made = task(path, skip=0.02)
    assert made.size() == 49
    assert made.loaded() == f"{path}: 49 problems (plain); broken rows left out: 1 (no answer: 1)"
    write(path, 10, prompt="x", answer="1", verifier="maths")
    with pytest.raises(DataError, match=r"data\.jsonl:11: verifier must be math or exact"):
        task(path)
    assert task(path, skip=0.1).size() == 10


@pytest.mark.parametrize(
    ("options", "key"), [({"path": ""}, "path"), ({"skip": 1.0}, "skip"), ({"skip": -0.1}, "skip")]
)
def test_options_are_checked(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"tasks\.mixture\.file\.options\.{key}"):
        create("math", "file", {"path": "x.jsonl", **options})
    with pytest.raises(ConfigError, match=r"options\.path: must be set"):
        create("math", "file", {})


def test_prompts_over_the_context_are_an_error_or_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", 49, prompt="long " * 20, answer="1")
    message = r"data\.jsonl:50: the prompt of file/50 has 100 tokens and rollout\.max_prompt_tokens is 99; raise .*skip"
    with pytest.raises(DataError, match=message):
        mixture(path, 99)
    mixture(path, 100)
    some = mixture(path, 99, skip=0.02)
    assert some.loaded(EvaluationConfig())[0].endswith(
        "49 problems (plain); broken rows left out: 1 (prompt too long: 1)"
    )
    assert all(len(problem.prompt) <= 99 for problem in some.draw(200) if problem.task == "file")
    with pytest.raises(DataError, match=r"50 of 50 rows are broken, more than the bound of 0\.02"):
        mixture(path, 3, skip=0.02)


def test_a_file_that_has_changed_is_named_when_a_run_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", 50)
    before = mixture(path)
    before.draw(20)
    state = json.loads(json.dumps(before.state_dict()))
    expected = before.draw(20)
    same = mixture(path)
    same.load_state_dict(state)
    assert same.draw(20) == expected
    moved = mixture(path.rename(tmp_path / "other.jsonl"))  # the same contents elsewhere are the same data
    moved.load_state_dict(state)
    assert moved.draw(20) == expected
    write(path, 50)
    path.write_text(path.read_text().replace('"answer": 7}', '"answer": 8}'))
    with pytest.raises(DataError, match=rf"tasks\.mixture\.file: {path} has changed since .*50 problems then, 50 now"):
        mixture(path).load_state_dict(state)
    write(path, 51)
    with pytest.raises(DataError, match="50 problems then, 51 now"):
        mixture(path).load_state_dict(state)


def test_where_other_rows_of_the_same_file_can_be_used_a_new_pass_begins(tmp_path: Path) -> None:
    """Another limit of prompts is no other data; but the places of the pass that was begun mean other rows."""
    path = write(tmp_path / "data.jsonl", 49, prompt="long " * 20, answer="1")
    before = mixture(path, skip=0.5)
    before.draw(40)
    state = json.loads(json.dumps(before.state_dict()))
    assert state["cursors"]["file"] < 50
    shorter = mixture(path, 99, skip=0.5)
    shorter.load_state_dict(state)
    assert shorter.take_notes() == [
        "tasks.mixture.file: 49 rows can be used, 50 before: a new pass over them begins with the next problem"
    ]
    assert shorter.state_dict()["cursors"] == {"file": 49, "sums": state["cursors"]["sums"]}
    pass_of_the_file = [problem.key for problem in shorter.draw(100) if problem.task == "file"][:40]
    assert len(set(pass_of_the_file)) == 40
    again = mixture(path, 99, skip=0.5)
    again.load_state_dict(shorter.state_dict())
    assert again.draw(30) == shorter.draw(30)
    assert again.take_notes() == []


@pytest.mark.parametrize("broken", [[], {"file": []}, {"file": {"path": "x"}}])
def test_a_broken_state_is_an_error(tmp_path: Path, broken: Any) -> None:
    made = mixture(write(tmp_path / "data.jsonl", 50))
    with pytest.raises(CheckpointError, match="state of the problem mixture is broken"):
        made.load_state_dict(made.state_dict() | {"files": broken})
    made.load_state_dict({"drawn": 3, "cursors": {"file": 2, "sums": 1}})  # from before files were compared
