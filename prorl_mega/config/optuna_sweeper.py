"""`hydra/sweeper=optuna`: a study that chooses the settings of each run by the scores of those before.

    python -m prorl_mega.train -m hydra/sweeper=optuna hydra.sweeper.n_trials=30 experiment=demo \\
        'optimizer.learning_rate=tag(log,interval(1e-5,1e-3))' recipe.kl.coef=0,1e-4,1e-3

Optuna's ask and tell behind Hydra's interface for sweepers. A trial is a run, started by whatever launcher was chosen,
and its value is a number of the run's final evaluation, to be maximised. A run that fails is a failed trial. A study
lives in an SQLite file: the same command goes on with it, first with the run that was interrupted.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from prorl_mega.config.bounds import out_of_bounds
from prorl_mega.config.optuna_study import SWEEPER_MODULE, OptunaStudy, OptunaSweeperConfig, RunOutcome
from prorl_mega.config.search_space import SearchSpace
from prorl_mega.distributed.launch import read_launch
from prorl_mega.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from optuna.trial import Trial

STUDIES = "studies"  # under `root`
_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def register_optuna() -> None:
    """Make `hydra/sweeper=optuna` known to Hydra. Optuna itself is imported when a study begins."""
    sys.modules[SWEEPER_MODULE] = sys.modules[__name__]
    Plugins.instance().register(OptunaSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConfig, provider="prorl_mega")


class OptunaSweeper(Sweeper):
    """Hydra's interface; `sweep` is called once."""

    __module__ = SWEEPER_MODULE

    def __init__(self, **settings: Any) -> None:
        self._settings = OptunaSweeperConfig(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check what does not depend on the ranges. Raises ConfigError."""
        for fault in out_of_bounds(self._settings, "hydra.sweeper."):
            raise ConfigError(fault)
        if importlib.util.find_spec("optuna") is None:
            raise ConfigError(
                "hydra/sweeper=optuna needs the package optuna, which is not installed: "
                f"{sys.executable} -m pip install optuna"
            )
        if config.hydra.job.name != "train":
            raise ConfigError("hydra/sweeper=optuna: only prorl_mega.train has a score to search by")
        if config.hydra.launcher._target_ == _BASIC_LAUNCHER and read_launch(os.environ).world_size > 1:
            raise ConfigError(
                "hydra/sweeper=optuna is one process that starts runs: leave torchrun or srun out. Runs of several "
                "ranks are Slurm jobs: hydra/launcher=slurm with cluster.nodes and cluster.ranks_per_node"
            )
        self.config, self.hydra_context = config, hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run trials until the study has `n_trials`. Raises ConfigError, StorageError; StoppedError when runs are left
        that their time limit has ended; ProRLError when no run has a score."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        ranges = [f"{key}={value}" for key, value in (self._settings.params or {}).items()]
        space = SearchSpace.of(parser.parse_overrides([*ranges, *arguments]))
        name = self._settings.study_name or str(self.config.name)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ConfigError(f"hydra.sweeper.study_name={name}: letters, digits, '.', '_' and '-' name a study")
        folder = Path(self.config.root).resolve() / STUDIES / name
        with _held(folder):
            study = OptunaStudy(self._settings, space, folder, name)
            began = study.interrupted()
            if began:
                print(f"study {name}: {len(began)} interrupted runs go on first", flush=True)
            self._launch(study, began)
            while count := min(study.missing(), self._settings.n_jobs):
                self._launch(study, [study.ask() for _ in range(count)])
            study.conclude()

    def _launch(self, study: OptunaStudy, trials: Sequence[Trial]) -> None:
        """Run trials, `n_jobs` at a time, those with equal values once, and tell the study how they ended."""
        for start in range(0, len(trials), self._settings.n_jobs):
            batch = trials[start : start + self._settings.n_jobs]
            jobs = {tuple(study.space.overrides(trial.params)): None for trial in batch}
            outcomes = self._outcomes([list(each) for each in jobs], batch[0].number)
            by_job = dict(zip(jobs, outcomes, strict=True))
            for trial in batch:
                study.tell(trial, by_job[tuple(study.space.overrides(trial.params))])

    def _outcomes(self, jobs: list[list[str]], first: int) -> list[RunOutcome | str]:
        """How each job ended, in words where its program has not returned."""
        try:
            returned = self.launcher.launch(jobs, initial_job_idx=first)
        except ConfigError:
            raise
        except Exception as error:  # of a launcher: a Slurm job that is gone
            return [f"{type(error).__name__}: {error}"] * len(jobs)
        found: list[RunOutcome | str] = []
        for each in returned:
            try:
                found.append(each.return_value)
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")
        return found


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes off the study: two of them would take each other's runs for interrupted ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another process works on the study in {folder}; wait for it, or give hydra.sweeper.study_name=NAME"
            ) from None
        yield
