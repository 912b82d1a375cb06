"""The loop of an evaluation, with stand-ins for the engine and the verifiers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.stores import header, sample, write_store

from prorl_mega import evaluate
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.evaluation_run import EvaluationRun
from prorl_mega.run.sample_store import SampleStore, StoredProblem


class SlowGrader:
    """Has a verdict only when somebody waits for it."""

    def __init__(self) -> None:
        self.unfinished = self.most = self.judged = 0

    def add(self, problem: int, sample: int, text: str) -> None:
        self.unfinished += 1
        self.most = max(self.most, self.unfinished)

    def poll(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        self.judged += self.unfinished
        self.unfinished = 0
        return True


def test_answers_of_an_earlier_job_are_not_all_in_memory_while_they_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [StoredProblem(key="a", task="task", prompt="a")]
    folder = tmp_path / "run" / "evaluation" / "policy"
    write_store(folder, problems, [sample(0, number) for number in range(50)], about=header(samples=50))
    grader = SlowGrader()

    @contextlib.contextmanager
    def grading(*arguments: object) -> Iterator[SlowGrader]:
        yield grader

    source = SimpleNamespace(answers=lambda requests, is_stopping: iter(()))
    parts: Any = SimpleNamespace(engine=0, engines=1, grading=grading, source=source, header=header())
    monkeypatch.setattr(evaluate, "MOST_WAITING", 7)
    with EvaluationRun(EvaluateConfig(root=str(tmp_path), name="run"), Ranks.alone(), "policy") as run:
        evaluate.sample_and_judge(parts, run, SampleStore(folder), [], [])
    assert grader.judged == 50
    assert grader.most == 8
