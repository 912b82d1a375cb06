"""An Optuna study with `hydra/launcher=slurm`: a job for each run, two at a time, and failures that are counted."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
from helpers.settings import model_directory
from helpers.slurm_cluster import SlurmCluster

from prorl_mega.errors import ExitCode

pytestmark = pytest.mark.slurm

PROGRAM = """
import os
from pathlib import Path
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode, RolloutError
from prorl_mega.run.evaluations import final_scores, write_evaluation

def main(config: RunConfig) -> ExitCode:
    coefficient = config.recipe.kl.coef
    if coefficient > 0.7:
        raise RolloutError("the engine broke")
    run = Path(config.root) / config.name
    run.mkdir(parents=True, exist_ok=True)
    (run / f"job{os.environ['SLURM_JOB_ID']}").touch()
    metrics = {"evaluation/pass@1": 1 - (coefficient - 0.3) ** 2}
    write_evaluation(run / "evaluation", label="final", step=1, settings={}, metrics=metrics, problems=[])
    return ExitCode.FINISHED

if __name__ == "__main__":
    run_hydra(main, RunConfig, scores=final_scores)
"""


def test_a_study_starts_a_job_for_each_run(cluster: SlurmCluster, tmp_path: Path) -> None:
    model = model_directory(tmp_path / "model")
    (tmp_path / "train.py").write_text(PROGRAM)
    overrides = [
        "-m", "hydra/sweeper=optuna", "hydra/launcher=slurm", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2",
        "experiment=demo", "model=random", f"model.path={model}", "recipe.kl.coef=interval(0,1)",
        "cluster.time_minutes=5",
    ]  # fmt: skip
    done = cluster.run(sys.executable, "train.py", *overrides, check=False, timeout=400, cwd=tmp_path)
    assert done.returncode == ExitCode.FINISHED, done.stdout + done.stderr
    storage = f"sqlite:///{tmp_path / 'runs' / 'studies' / 'demo' / 'study.db'}"
    trials = optuna.load_study(study_name="demo", storage=storage).trials
    assert len(trials) == 4
    for trial in trials:
        coefficient = trial.params["recipe.kl.coef"]
        if coefficient > 0.7:
            assert trial.state.name == "FAIL"
        else:
            assert trial.value == pytest.approx(1 - (coefficient - 0.3) ** 2)
            assert list((tmp_path / trial.user_attrs["run"]).glob("job*"))
    assert {each.state.name for each in trials} == {"COMPLETE", "FAIL"}
    assert len(list((tmp_path / "runs" / "studies" / "demo").glob("runs.jsonl"))) == 1
