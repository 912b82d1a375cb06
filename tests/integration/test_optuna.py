"""An Optuna study of real runs: scores of their final evaluations, a failed run, and going on after an interruption."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import optuna
import pytest
from helpers.programs import Program, run_program, small_setup

from prorl_mega.errors import ExitCode
from prorl_mega.report import main as report

STUDY = (
    "-m", "hydra/sweeper=optuna", "experiment=small", "schedule.steps=1", "schedule.evaluate_every=0",
    "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))", "recipe.samples_per_prompt=choice(2,4)",
)  # fmt: skip


@pytest.mark.slow
def test_a_study_of_three_runs_of_which_one_is_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = small_setup(tmp_path)
    storage = f"sqlite:///{tmp_path / 'runs' / 'studies' / 'small' / 'study.db'}"
    with Program("prorl_mega.train", setup, *STUDY, "hydra.sweeper.n_trials=3") as program:
        program.wait_until(lambda: len(list((tmp_path / "runs").glob("small--*/metrics.jsonl"))) >= 2)
        program.send(signal.SIGTERM)
        stopped = program.finish()
    assert stopped.code == ExitCode.SAVED_AFTER_SIGNAL, stopped.output
    before = optuna.load_study(study_name="small", storage=storage).trials
    assert [each.state.name for each in before] == ["COMPLETE", "RUNNING"]

    done = run_program("prorl_mega.train", setup, *STUDY, "hydra.sweeper.n_trials=3")
    assert done.code == ExitCode.FINISHED, done.output
    study = optuna.load_study(study_name="small", storage=storage)
    assert [each.state.name for each in study.trials] == ["COMPLETE"] * 3
    assert study.trials[1].params == before[1].params
    for trial in study.trials:
        run = tmp_path / trial.user_attrs["run"]
        final = json.loads((run / "evaluation" / "final.json").read_text())
        assert trial.value == final["metrics"]["evaluation/pass@1"]
    assert report([str(tmp_path / "runs" / "studies" / "small"), "--output", str(tmp_path / "page.html")]) == 0
    assert "3 runs, 3 with a final evaluation" in capsys.readouterr().out
    assert f"best: evaluation/pass@1 {study.best_value:.4f}, {study.best_trial.user_attrs['run']}" in done.output
