"""`hydra/sweeper=optuna`: better settings are found, failures are counted, an interrupted study goes on as if it had
not been interrupted. The programs are real but for the training; tests/integration/test_optuna.py has that, too."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers.settings import model_directory
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from prorl_mega.config.optuna_study import OptunaStudy, OptunaSweeperConfig, RunOutcome
from prorl_mega.config.optuna_sweeper import OptunaSweeper
from prorl_mega.config.search_space import SearchSpace
from prorl_mega.errors import ConfigError, ExitCode, ProRLError, StoppedError, StorageError

PROGRAM = """
from pathlib import Path
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode, RolloutError
from prorl_mega.run.evaluations import final_scores, write_evaluation

def main(config: RunConfig) -> ExitCode:
    coefficient = config.recipe.kl.coef
    run = Path(config.root) / config.name
    if coefficient > 0.7:
        raise RolloutError("the engine broke")
    if Path("stop").exists():  # the run is stopped by a signal, once
        Path("stop").unlink()
        return ExitCode.SAVED_AFTER_SIGNAL
    run.mkdir(parents=True, exist_ok=True)
    metrics = {"evaluation/pass@1": 1 - (coefficient - 0.3) ** 2}
    write_evaluation(run / "evaluation", label="final", step=1, settings={}, metrics=metrics, problems=[])
    return ExitCode.FINISHED

if __name__ == "__main__":
    run_hydra(main, RunConfig, scores=final_scores)
"""


def search(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(PROGRAM)
    model = folder / "model"
    if not model.exists():
        model_directory(model)
    command = [sys.executable, "train.py", "-m", "hydra/sweeper=optuna", "experiment=demo", "model=random"]
    return subprocess.run(
        [*command, f"model.path={model}", *overrides], cwd=folder, capture_output=True, text=True, timeout=120
    )


def trials(folder: Path, name: str = "demo") -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder / 'runs' / 'studies' / name / 'study.db'}"
    return optuna.load_study(study_name=name, storage=storage).trials


RANGE = "recipe.kl.coef=interval(0,1)"


def test_a_study_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_startup_trials=2", RANGE)
    assert whole.returncode == ExitCode.FINISHED, whole.stderr
    expected = trials(tmp_path / "whole")
    assert [each.number for each in expected] == [0, 1, 2, 3, 4]
    assert len({each.params["recipe.kl.coef"] for each in expected}) == 5
    assert {each.state.name for each in expected} == {"COMPLETE", "FAIL"}, "a failure, and scores"
    best = max(each.value for each in expected if each.value is not None)
    assert f"best: evaluation/pass@1 {best:.4f}, runs/demo--kl_coef_" in whole.stdout

    broken = tmp_path / "broken"
    first = search(broken, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_startup_trials=2", RANGE)
    assert first.returncode == ExitCode.FINISHED, first.stderr
    (broken / "stop").touch()
    stopped = search(broken, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_startup_trials=2", RANGE)
    assert stopped.returncode == ExitCode.SAVED_AFTER_SIGNAL, stopped.stdout + stopped.stderr
    assert trials(broken)[-1].state.name == "RUNNING"
    again = search(broken, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_startup_trials=2", RANGE)
    assert again.returncode == ExitCode.FINISHED, again.stderr
    assert "study demo: 1 interrupted runs go on first" in again.stdout
    assert [(each.params, each.value) for each in trials(broken)] == [(each.params, each.value) for each in expected]
    noted = [json.loads(line)["run"] for line in (broken / "runs/studies/demo/runs.jsonl").read_text().splitlines()]
    assert [Path(each).name for each in noted] == [
        f"demo--kl_coef_{each.params['recipe.kl.coef']}" for each in expected
    ]


def test_ranges_of_a_configuration_file_are_in_the_names_of_the_runs(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "experiment" / "own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}]\nname: own\n"
        "hydra: {sweeper: {n_trials: 1, params: {recipe.kl.coef: 'interval(0.2,0.3)'}}}\n"
    )
    done = search(tmp_path, "experiment=own", "--config-dir", str(own.parents[1]))
    assert done.returncode == ExitCode.FINISHED, done.stderr
    (trial,) = trials(tmp_path, "own")
    assert (tmp_path / "runs" / f"own--kl_coef_{trial.params['recipe.kl.coef']}" / "evaluation").is_dir()


SETTINGS = OptunaSweeperConfig(n_trials=30)
SPACE = SearchSpace.of(
    OverridesParser.create().parse_overrides(["seed=1", "x=interval(-1,1)", "y=choice(low,high)"])
)  # fmt: skip


def toy(folder: Path, **settings: Any) -> OptunaStudy:
    return OptunaStudy(replace(SETTINGS, **settings), SPACE, folder, "toy")


def finished(folder: Path, value: float) -> RunOutcome:
    return RunOutcome(code=0, run=folder / "runs" / "a", scores={"evaluation/pass@1": value})


def test_the_best_of_a_function_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = toy(tmp_path)
    values = []
    while study.missing():
        trial = study.ask()
        values.append(-((trial.params["x"] - 0.5) ** 2) + (trial.params["y"] == "high"))
        study.tell(trial, finished(tmp_path, values[-1]))
    study.conclude()
    assert f"best: evaluation/pass@1 {max(values):.4f}" in capsys.readouterr().out
    assert max(values) > 0.98
    assert sum(values[-10:]) > sum(values[:10]) + 1, "the first ten are chosen at random"


def test_failures_are_no_scores_and_too_many_of_them_end_the_study(tmp_path: Path) -> None:
    study = toy(tmp_path, max_failures=2)
    study.tell(study.ask(), "UncompletedJobError: node failed")
    study.tell(study.ask(), finished(tmp_path, 0.1))
    study.tell(study.ask(), RunOutcome(code=24, run=tmp_path, scores={"evaluation/pass@1": 0.9}))
    with pytest.raises(ProRLError, match="2 runs have failed one after the other, the last one with exit code 12"):
        study.tell(study.ask(), RunOutcome(code=ExitCode.STOPPED_BY_CONTROLLER, run=tmp_path, scores={}))
    assert study.missing() == 26
    toy(tmp_path).conclude()  # one has a score


def test_a_study_without_a_score_has_failed(tmp_path: Path) -> None:
    study = toy(tmp_path)
    study.tell(study.ask(), "gone")
    with pytest.raises(ProRLError, match="no run of the study toy has a score: 1 have failed"):
        study.conclude()


def test_a_run_at_its_time_limit_goes_on_at_the_next_call(tmp_path: Path) -> None:
    study = toy(tmp_path)
    trial = study.ask()
    study.tell(trial, RunOutcome(code=ExitCode.SAVED_AT_TIME_LIMIT, run=tmp_path, scores={}))
    with pytest.raises(StoppedError, match="1 runs have reached their time limit"):
        study.conclude()
    (again,) = toy(tmp_path).interrupted()
    assert (again.number, again.params) == (trial.number, trial.params)


def test_a_trial_whose_values_were_not_chosen_yet_has_failed(tmp_path: Path) -> None:
    toy(tmp_path)
    optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path / 'study.db'}").ask()
    study = toy(tmp_path)
    assert study.interrupted() == []
    assert study.missing() == 29
    study.tell(study.ask(), finished(tmp_path, 1.0))


def test_another_objective_or_range_is_another_study(tmp_path: Path) -> None:
    study = toy(tmp_path, objective="evaluation/typo")
    with pytest.raises(ConfigError, match=r"evaluation/typo: .* no such number; it has evaluation/pass@1"):
        study.tell(study.ask(), finished(tmp_path, 0.5))
    mended = toy(tmp_path)  # no run has a value yet, so the mistake can be put right
    mended.tell(mended.interrupted()[0], finished(tmp_path, 0.5))
    with pytest.raises(ConfigError, match=r"objective: evaluation/pass@1 and now evaluation/reward.*study_name=NAME"):
        toy(tmp_path, objective="evaluation/reward")
    for fixed, written in ((["seed=2"], SPACE.written), (SPACE.fixed, SPACE.written | {"x": "interval(0,1)"})):
        with pytest.raises(ConfigError, match=r"was begun with other (settings|ranges): "):
            OptunaStudy(SETTINGS, replace(SPACE, fixed=fixed, written=written), tmp_path, "toy")


def test_a_storage_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database" * 100)
    with pytest.raises(StorageError, match=r"hydra\.sweeper\.storage=sqlite:///.*study\.db: "):
        toy(tmp_path)
    with pytest.raises(StorageError, match="storage=nonsense: "):
        toy(tmp_path / "x", storage="nonsense")


def setup(tmp_path: Path, job: str = "train", **settings: Any) -> OptunaSweeper:
    target = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    config = OmegaConf.create(
        {"name": "demo", "root": str(tmp_path), "hydra": {"job": {"name": job}, "launcher": {"_target_": target}}}
    )
    sweeper = OptunaSweeper(**settings)
    context: Any = None
    sweeper.setup(hydra_context=context, task_function=lambda _: None, config=config)
    return sweeper


def test_what_cannot_work_is_refused_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.n_trials=0 must be at least 1"):
        setup(tmp_path, n_trials=0)
    with pytest.raises(ConfigError, match=r"only prorl_mega\.train has a score"):
        setup(tmp_path, job="evaluate")
    with monkeypatch.context() as patch:
        launch = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
        for name, value in launch.items():
            patch.setenv(name, value)
        with pytest.raises(ConfigError, match="leave torchrun or srun out"):
            setup(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"needs the package optuna, .*pip install optuna"):
            setup(tmp_path)


def test_a_study_has_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "studies" / "demo"
    folder.mkdir(parents=True)
    with (folder / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = search(tmp_path, "hydra.sweeper.n_trials=1", RANGE)
    assert done.returncode == ExitCode.CONFIG
    assert "another process works on the study" in done.stderr
    odd = search(tmp_path, "hydra.sweeper.study_name=../x", RANGE)
    assert odd.returncode == ExitCode.CONFIG
    assert "letters, digits" in odd.stderr
