"""An Optuna study of runs: it proposes settings, is told how the runs ended, and lives in a database.

Random numbers depend on the trial's number alone, so that a study that was interrupted proposes what it would have
proposed otherwise.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prorl_mega.config.bounds import bounded
from prorl_mega.config.search_space import SearchSpace
from prorl_mega.config.swept_runs import note_run
from prorl_mega.errors import ConfigError, ExitCode, ProRLError, StoppedError, StorageError

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

SWEEPER_MODULE = "hydra_plugins.prorl_mega"
"""Another name of the sweeper's module: Hydra starts only plugins whose names begin so."""
_COMMAND, _RUN, _CODE = "command", "run", "exit code"  # attributes of studies and trials
_GOES_ON = (ExitCode.SAVED_AFTER_SIGNAL, ExitCode.SAVED_AT_TIME_LIMIT)


@dataclass(kw_only=True, slots=True, frozen=True)
class RunOutcome:
    """How a run of a sweep has ended: its exit code, its directory, and the numbers of its final evaluation."""

    code: int
    run: Path
    scores: dict[str, float]


@dataclass(kw_only=True)
class OptunaSweeperConfig:
    """The settings `hydra.sweeper`, named as those of Hydra's other sweepers."""

    _target_: str = f"{SWEEPER_MODULE}.OptunaSweeper"
    n_trials: int = bounded(20, ge=1, le=100_000)  # of the whole study, those of earlier calls included
    n_jobs: int = bounded(1, ge=1, le=1000)  # runs at a time; more than one make sense with hydra/launcher=slurm
    objective: str = "evaluation/pass@1"  # a number of the final evaluation (evaluation/final.json), maximised
    study_name: str | None = None  # None: the name of the run
    storage: str | None = None  # URL of a database as Optuna takes it; None: SQLite, <root>/studies/<study>/study.db
    n_startup_trials: int = bounded(10, ge=0, le=100_000)  # chosen at random, before scores are looked at
    seed: int = bounded(1, ge=0, le=2**31 - 1)  # of the choices, not of the runs
    max_failures: int = bounded(5, ge=1, le=100_000)  # runs that fail one after the other and end the study
    params: dict[str, str] | None = field(default=None)  # ranges, for configuration files; the command line wins


class OptunaStudy:
    """The trials in their storage; what they were begun with and how they ended. Optuna has to be installed."""

    def __init__(self, settings: OptunaSweeperConfig, space: SearchSpace, folder: Path, name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings, self._folder, self._name = settings, folder, name
        self._failures = 0  # one after the other
        self._left = 0  # runs that their time limit has ended
        self.space = space
        storage = settings.storage or f"sqlite:///{folder / 'study.db'}"
        try:
            self._study: Study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            self._same_command()
        except ConfigError:
            raise
        except Exception as error:  # whatever the database's driver raises
            raise StorageError(f"hydra.sweeper.storage={storage}: {' '.join(str(error).split())[:500]}") from error

    def _same_command(self) -> None:
        """Raise ConfigError unless the study was begun with these ranges and settings: its scores belong to them."""
        command: dict[str, Any] = {"ranges": self.space.written, "settings": sorted(self.space.fixed)}
        if self._trials("COMPLETE"):
            command["objective"] = self._settings.objective
        before = self._study.user_attrs.get(_COMMAND, command)
        if differing := [
            f"{key}: {before[key]} and now {value}" for key, value in command.items() if before[key] != value
        ]:
            raise ConfigError(
                f"the study {self._name} was begun with other {'; '.join(differing)}. Scores of both cannot be "
                "mixed: give the same command to go on, or hydra.sweeper.study_name=NAME for another study"
            )
        self._study.set_user_attr(_COMMAND, command | {"objective": self._settings.objective})

    def _trials(self, *states: str) -> list[FrozenTrial]:
        return [each for each in self._study.get_trials(deepcopy=False) if each.state.name in states]

    def missing(self) -> int:
        """Trials that are to be begun."""
        return max(0, self._settings.n_trials - len(self._study.get_trials(deepcopy=False)))

    def interrupted(self) -> list[Trial]:
        """Trials of an earlier process that ended before their runs did."""
        from optuna.trial import Trial, TrialState

        found = []
        for each in self._trials("RUNNING"):
            if each.params.keys() == self.space.ranges.keys():
                found.append(Trial(self._study, each._trial_id))
            else:  # it ended while the values were chosen
                self._study.tell(each.number, state=TrialState.FAIL)
        return found

    def ask(self) -> Trial:
        """A new trial with its values."""
        from optuna.samplers import TPESampler

        number = len(self._study.get_trials(deepcopy=False))
        seed = int.from_bytes(hashlib.sha256(f"{self._settings.seed} {number}".encode()).digest()[:4])
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=self._settings.n_startup_trials)
        return self._study.ask(self.space.ranges)

    def tell(self, trial: Trial, outcome: RunOutcome | str) -> None:
        """Record how the run of a trial has ended. Raises ConfigError for an objective that it has no number of, and
        ProRLError after too many failures."""
        from optuna.trial import TrialState

        count = f"trial {trial.number + 1}/{self._settings.n_trials}"
        if isinstance(outcome, RunOutcome):
            trial.set_user_attr(_RUN, str(outcome.run))
            trial.set_user_attr(_CODE, outcome.code)
            note_run(self._folder, outcome.run)
            if outcome.code in _GOES_ON:
                self._left += 1
                print(f"{count} {outcome.run.name}: not finished; the same command goes on with it", flush=True)
                return
            if outcome.code == ExitCode.FINISHED:
                value = self._value(outcome)
                self._study.tell(trial, value)
                self._failures = 0
                best = self._study.best_trial
                print(f"{count} {outcome.run.name}: {self._settings.objective} {value:.4f}, best "
                      f"{best.value:.4f} (trial {best.number + 1})", flush=True)  # fmt: skip
                return
        cause = outcome if isinstance(outcome, str) else f"exit code {outcome.code}"
        self._study.tell(trial, state=TrialState.FAIL)
        self._failures += 1
        print(f"{count} failed ({' '.join(cause.split())[:300]}): {trial.params}", file=sys.stderr, flush=True)
        if self._failures >= self._settings.max_failures:
            raise ProRLError(
                f"the study {self._name} stops: {self._failures} runs have failed one after the other, the last one "
                f"with {' '.join(cause.split())[:300]}. The same command goes on with other values "
                f"(hydra.sweeper.max_failures={self._settings.max_failures})"
            )

    def _value(self, outcome: RunOutcome) -> float:
        value = outcome.scores.get(self._settings.objective)
        if value is None:
            raise ConfigError(
                f"hydra.sweeper.objective={self._settings.objective}: {outcome.run}/evaluation/final.json has no such "
                f"number; it has {', '.join(outcome.scores) or 'none'}"
            )
        return value

    def conclude(self) -> None:
        """Say what was found."""
        finished, failed = self._trials("COMPLETE"), self._trials("FAIL")
        if self._left:
            raise StoppedError(f"{self._left} runs have reached their time limit; the same command goes on with them")
        if not finished:
            raise ProRLError(f"no run of the study {self._name} has a score: {len(failed)} have failed")
        best = self._study.best_trial
        print(f"study {self._name}: {len(finished)} runs have scores, {len(failed)} failed; {self._folder}")
        print(f"best: {self._settings.objective} {best.value:.4f}, {best.user_attrs.get(_RUN)}")
        print("  " + " ".join(f"{key}={value}" for key, value in best.params.items()), flush=True)
