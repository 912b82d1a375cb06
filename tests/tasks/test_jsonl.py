"""Broken data files stop the start and are named with their line."""

import json
from pathlib import Path

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Mixture, create

GOOD = {"prompt": "1+1?", "answer": "2"}


def mixture(path: Path, **options: str) -> Mixture:
    return Mixture(
        TasksConfig(mixture={"file": TaskConfig(name="jsonl", options={"path": str(path), **options})}), seed=1
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "x", "answer": ', "not JSON"),
        (b'{"prompt": "x", "answer": NaN}', "NaN"),
        (b'{"prompt": "\xff", "answer": "1"}', "invalid UTF-8 at byte 13"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"answer": "1"}', "'prompt' is missing"),
        (b'{"prompt": "x"}', "'answer' is missing"),
        (b'{"prompt": 1, "answer": "1"}', "'prompt' must be text"),
        (b'{"prompt": "x", "answer": [1]}', "'answer' must be text"),
        (b'{"prompt": " ", "answer": "1"}', "'prompt' must be text"),
        (b'{"prompt": "x", "answer": "1", "verifier": "code"}', "verifier must be math or exact"),
        (b'{"prompt": "x", "answer": "1", "id": "a"}', "'a' was used before, in line 1"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "' + b"x" * (1 << 20) + b'", "answer": "1"}', "longer than"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(GOOD | {"id": "a"}).encode() + b"\n\n" + line + b"\n" + json.dumps(GOOD).encode())
    with pytest.raises(DataError, match=message) as caught:
        mixture(path)
    assert f"{path}:3: " in str(caught.value)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        mixture(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="has no problems"):
        mixture(tmp_path / "empty.jsonl")
    (tmp_path / "data.pkl").write_bytes(b"x")
    with pytest.raises(DataError, match=r"must be a \.jsonl file"):
        mixture(tmp_path / "data.pkl")


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.file\.options\.verifier: must be one of math, exact"):
        mixture(tmp_path / "x.jsonl", verifier="code")
    with pytest.raises(ConfigError, match=r"options\.path: must be set"):
        create("jsonl", "file", {})


def test_every_row_comes_once_per_pass_and_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"p{i}", "answer": i}) for i in range(50)))
    task = create("jsonl", "file", {"path": str(path), "suffix": "!"})
    passes = [[task.problem(i, seed=3).prompt for i in range(start, start + 50)] for start in (0, 50)]
    assert [sorted(each) for each in passes] == [sorted(f"p{i}!" for i in range(50))] * 2
    assert passes[0] != passes[1]
    assert task.problem(7, seed=3) == create("jsonl", "file", {"path": str(path), "suffix": "!"}).problem(7, seed=3)


def test_both_verifiers(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [{"prompt": "a", "answer": "1/2"}, {"prompt": "b", "answer": "1/2", "verifier": "exact"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = create("jsonl", "file", {"path": str(path)})
    by_prompt = {problem.prompt: problem for problem in (task.problem(i, 0) for i in range(2))}
    assert task.score(by_prompt["a"], r"\boxed{0.5}").reward == 1
    assert task.score(by_prompt["b"], r"\boxed{0.5}").reward == 0
    assert task.score(by_prompt["b"], r"\boxed{ 1/2 }").reward == 1
