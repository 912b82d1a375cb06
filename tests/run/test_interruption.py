"""A run that is interrupted in the middle of a step."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from helpers.toy_run import Toy, toy_config

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode, NoInformativeGroupsError
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.signals import Interrupted


def test_an_interruption_keeps_what_is_finished_and_says_the_truth(tmp_path: Path) -> None:
    """Given up before the update; saved without its evaluation after it; the rest is as without interruptions."""
    toy = Toy()
    metrics = tmp_path / "toy" / "metrics.jsonl"

    def said(text: str) -> bool:
        return text in (tmp_path / "toy" / "console.log").read_text()

    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        run.resume(toy.restore)
        run._stopping._signals.received = signal.SIGTERM
        assert run.is_stopping()
        with pytest.raises(Interrupted) as stopped, run.step(1, toy.save) as log:
            run.interruption_point()
        assert run.interrupted(stopped.value) is ExitCode.SAVED_AFTER_SIGNAL
    assert said("no step is done, so there is no checkpoint; step 1 was given up and will be done again")
    assert not list((tmp_path / "toy" / "checkpoints").iterdir())

    nan = float("nan")
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        assert run.resume(toy.restore) == 0
        assert run.next_step(0) == 1
        with pytest.raises(Interrupted) as stopped, run.step(1, toy.save) as log:  # noqa: PT012
            log.add({"a": 0.1, "b": nan})
            log.add({"a": 0.2})
            log.begin_update()
            raise Interrupted("3 of its 9 problems are done and kept")
        run.interrupted(stopped.value)
    assert said("step 1 of 5 is saved, its evaluation is not done; an evaluation was interrupted, 3 of")
    assert not list(read_rows(metrics))

    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        step = run.resume(toy.restore)
        assert (step, run.next_step(step)) == (1, 1)
        with run.step(1, toy.save) as log:
            assert log.is_updated
            log.add({"evaluation/pass@1": 0.5})
        assert run.next_step(1) == 2
        with pytest.raises(Interrupted), run.step(2, toy.save):
            raise Interrupted
    (row,) = read_rows(metrics)
    assert row["a"] == (0.1 + 0.2) / 2
    assert row["b"] is None
    assert row["evaluation/pass@1"] == 0.5
    assert not (tmp_path / "toy" / "checkpoints" / "step_000001" / "unfinished.json").exists(), "step 1 is whole"


def test_a_step_that_is_begun_is_finished_under_a_shorter_schedule(tmp_path: Path) -> None:
    toy = Toy()
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        run.resume(toy.restore)
        with run.step(1) as log:
            log.add({"a": 0.0})
        with pytest.raises(Interrupted), run.step(2, toy.save) as log:  # noqa: PT012
            log.add({"a": 1.0})
            log.begin_update()
            raise Interrupted
    with TrainingRun(toy_config(tmp_path, 1), Ranks.alone()) as run:
        assert run.next_step(run.resume(toy.restore)) == 2
        with run.step(2, toy.save) as log:
            pass
        assert run.next_step(2) is None
    assert [(row["step"], row["a"]) for row in read_rows(tmp_path / "toy" / "metrics.jsonl")] == [(1, 0.0), (2, 1.0)]


def test_a_step_without_groups_to_train_on_leaves_the_policy_before_it(tmp_path: Path) -> None:
    toy = Toy()
    with TrainingRun(toy_config(tmp_path, 5, save_every=5), Ranks.alone()) as run:
        run.resume(toy.restore)
        with run.step(1, toy.save) as log:
            log.add({"a": 0.0})
        with pytest.raises(NoInformativeGroupsError), run.step(2, toy.save):
            raise NoInformativeGroupsError("only 0 of 4 groups could be trained on")
        run.say_what_is_saved()
    console = (tmp_path / "toy" / "console.log").read_text()
    assert "saved after step 1 of 5; step 2 was given up and will be done again" in console
    with TrainingRun(toy_config(tmp_path, 5), Ranks.alone()) as run:
        assert run.next_step(run.resume(toy.restore)) == 2
