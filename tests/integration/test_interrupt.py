"""Signals in the middle of evaluations: nothing that is finished is done again, and nobody can tell afterwards."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from helpers.programs import Finished, Program, metrics, outcome, run_program

from prorl_mega.errors import ExitCode

ARGUMENTS = (
    "experiment=small",
    "schedule.steps=1",
    "rollout.max_concurrent=4",  # parts of two problems
    "evaluation.problems_per_task=12",
    "evaluation.final_problems_per_task=12",
)


def stopped_when(setup: Path, name: str, condition: Callable[[], bool]) -> Finished:
    with Program("prorl_mega.train", setup, *ARGUMENTS, f"name={name}") as program:
        program.wait_until(condition)
        program.send(signal.SIGTERM)
        finished = program.finish()
    assert finished.code == ExitCode.SAVED_AFTER_SIGNAL, finished.output
    assert "SIGTERM: stopping; what is finished will be kept" in finished.output
    return finished


def test_stopped_in_two_evaluations_it_equals_the_uninterrupted_run(setup: Path) -> None:
    whole, run = setup / "runs" / "whole", setup / "runs" / "stopped_twice"
    assert run_program("prorl_mega.train", setup, *ARGUMENTS, "name=whole").code == 0

    first = stopped_when(setup, run.name, lambda: len(list((run / "evaluation").glob("*.part"))) == 1)
    assert "no step is done, so there is no checkpoint; an evaluation was interrupted, " in first.output
    assert "of its 24 problems are done and kept" in first.output
    assert not (run / "evaluation" / "base.json").exists()
    assert not list((run / "checkpoints").iterdir())
    (kept,) = (run / "evaluation").glob("*.part")
    before = kept.read_bytes()

    second = stopped_when(setup, run.name, lambda: len(list((run / "evaluation").glob("*.part"))) == 2)
    assert "step 1 of 1 is saved, its evaluation is not done; an evaluation was interrupted, " in second.output
    assert kept.read_bytes().startswith(before), "these parts were not sampled again"
    assert metrics(run) == []
    assert json.loads((run / "checkpoints" / "step_000001" / "unfinished.json").read_text())["additions"]

    last = run_program("prorl_mega.train", setup, *ARGUMENTS, f"name={run.name}")
    assert last.code == 0, last.output
    assert "resuming in the evaluation of step 1" in last.output
    assert metrics(run, seconds=False) == metrics(whole, seconds=False)
    assert metrics(run)[0]["seconds/rollout"] > 0, "those of the first part count"
    for part in ("checkpoints/step_000001", "evaluation", "samples"):
        assert outcome(run / part) == outcome(whole / part), part
