"""Rank 0 reads the data; the others get its problems, and its errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.thread_ranks import run_ranks

from prorl_mega.config.schema import EvaluationConfig, TaskConfig, TasksConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Mixture
from prorl_mega.tasks.objection import length_check
from prorl_mega.tasks.row_task import RowTask
from prorl_mega.tasks.shared_mixture import SharedMixture


def settings(path: Path, **options: Any) -> TasksConfig:
    entry = TaskConfig(name="math", options={"path": str(path), **options})
    return TasksConfig(mixture={"file": entry, "sums": TaskConfig(name="arithmetic")})


def write(path: Path, count: int) -> Path:
    path.write_text("\n".join(json.dumps({"prompt": f"What is {i}+1?", "answer": i + 1}) for i in range(count)))
    return path


def shared(tasks: TasksConfig, ranks: Ranks) -> SharedMixture:
    return SharedMixture(tasks, 1, ranks)


def test_every_rank_gets_what_one_mixture_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = settings(write(tmp_path / "data.jsonl", 60))
    loads: list[str] = []
    load = RowTask.load

    def counted(task: RowTask) -> None:
        loads.append(task.entry)
        load(task)

    monkeypatch.setattr(RowTask, "load", counted)

    def work(ranks: Ranks) -> list[Any]:
        problems = shared(tasks, ranks)
        drawn = problems.draw(20)
        problems.set_weights({"file": 0.0, "sums": 1.0})
        state = problems.state_dict()
        later = problems.draw(10)
        problems.load_state_dict(ranks.broadcast(state))
        assert problems.draw(10) == later
        assert bool(state) == bool(problems.loaded(EvaluationConfig())) == ranks.is_first
        return [drawn, later, problems.held_out(4)]

    results = run_ranks(3, work)
    assert loads == ["file"], "one rank reads"
    alone = Mixture(tasks, seed=1)
    drawn = alone.draw(20)
    alone.set_weights({"file": 0.0, "sums": 1.0})
    assert results == [[drawn, alone.draw(10), alone.held_out(4)]] * 3


def test_the_state_of_version_0_1_is_read_and_written(tmp_path: Path) -> None:
    """Checkpoints hold it. The digest is of the 60 rows that `write` makes."""
    contents = {"path": "elsewhere.jsonl", "digest": "283ca79509460d8156e43fc17d27c8e1", "rows": 60}
    state = {"drawn": 20, "cursors": {"file": 12, "sums": 11}, "files": {"file": contents}}
    path = write(tmp_path / "data.jsonl", 60)
    alone = Mixture(settings(path), seed=1)
    alone.draw(20)
    assert alone.state_dict() == {**state, "files": {"file": {**contents, "path": str(path)}}}
    problems = shared(settings(path), Ranks.alone())
    problems.load_state_dict(state)
    assert problems.draw(10) == alone.draw(10)


def test_what_is_wrong_with_data_or_options_stops_every_rank(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", 60)
    state = Mixture(settings(path), seed=1).state_dict()
    write(path, 59)
    for rank, error in enumerate(run_ranks(2, lambda ranks: shared(settings(path), ranks).load_state_dict(state))):
        assert isinstance(error, DataError)
        assert "has changed since the checkpoint was written (60 problems then, 59 now)" in str(error)
        assert ("rank 0: " in str(error)) == (rank != 0)
    path.unlink()
    for error in run_ranks(2, lambda ranks: shared(settings(path), ranks)):
        assert isinstance(error, DataError)
        assert "data.jsonl: no such file" in str(error)
    for error in run_ranks(2, lambda ranks: shared(settings(path, sufix="x"), ranks)):
        assert isinstance(error, ConfigError)
        assert "did you mean 'suffix'" in str(error)


def test_a_check_that_fails_stops_every_rank(tmp_path: Path) -> None:
    tasks = settings(write(tmp_path / "data.jsonl", 60))

    def work(ranks: Ranks) -> None:
        SharedMixture(tasks, 1, ranks, check=length_check(lambda problem: len(problem.prompt), 3, "some.setting"))

    for error in run_ranks(2, work):
        assert isinstance(error, DataError)
        assert "some.setting is 3" in str(error)
