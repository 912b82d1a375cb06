"""A run and its directory, `<root>/<name>/`; all files of a run are written through it.

config.yaml       the settings in force            samples/       a few answers per step
metrics.jsonl     a row per step, 0: the base      evaluation/    results on held-out problems
tensorboard/      the same, by `loggers`           checkpoints/   complete states, newest last
decisions.jsonl   the controller's decisions       starts.jsonl   versions, commit and command of every start
parity.jsonl      sampler against learner          console.log    the lines of the console
LOCK              the process that writes here     servers/       logs of vLLM servers, where there are any
run_summary.json  how the last job ended, and why  slurm/         logs of attempts, `prorl_mega.submit`
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prorl_mega.config.schema import RunConfig
from prorl_mega.config.validate import name_problems
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, ExitCode, NoInformativeGroupsError
from prorl_mega.run import changes, evaluations
from prorl_mega.run.checkpoints import AFTER, STATE, UNFINISHED, Audit, Checkpoints
from prorl_mega.run.console import Console, counted, duration
from prorl_mega.run.decisions import NAME as DECISIONS
from prorl_mega.run.decisions import SettingChange, append_decisions, go_on, to_row
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.kept_parts import KeptParts, remove_kept_parts
from prorl_mega.run.lock import RunLock
from prorl_mega.run.loggers import LoggerType, MetricsLogger, logger_types
from prorl_mega.run.metrics import METRICS, append_metrics, cut_metrics, memory
from prorl_mega.run.parity import PARITY, append_parity, cut_parity
from prorl_mega.run.progress import SAVE, RunProgress, due
from prorl_mega.run.provenance import record_start
from prorl_mega.run.retention import Retention
from prorl_mega.run.samples import remove_samples_after, write_samples
from prorl_mega.run.settings import write_settings
from prorl_mega.run.signals import Interrupted
from prorl_mega.run.step import StepLog
from prorl_mega.run.stopping import Stopping
from prorl_mega.run.storage import remove_unfinished, storage_errors, write_durably
from prorl_mega.run.summary import remove_summary, told_by, write_summary
from prorl_mega.types import Decision, Metrics

Save = Callable[[Path, int], dict[str, Any]]
"""Writes this rank's files of the checkpoint after a step into a directory and returns the state that goes along, plain
JSON."""


class TrainingRun(contextlib.AbstractContextManager["TrainingRun"]):
    """A run, through which the loop writes everything. A context manager: leaving it frees the directory for the next
    process.

    Steps count from 1; checkpoint N holds the state after step N. Methods marked collective are called by all ranks
    together; the others do their work on rank 0 and nothing elsewhere.
    """

    def __init__(self, config: RunConfig, ranks: Ranks, audit: Audit = lambda checkpoint: []) -> None:
        """Open the run's directory, or create it. Collective, before anything expensive is built.

        `audit` looks at the checkpoint to go on from. Raises ConfigError when the directory is in use, when settings
        changed that must not, or when `resume=never` meets checkpoints; CheckpointError when none of them is intact.
        """
        for problem in name_problems(config.name):  # also of a run that nobody has validated: no path leads elsewhere
            raise ConfigError(problem)
        self.directory = directory = Path(config.root) / config.name
        self.exit_code, self._cause, self._saved_step = ExitCode.FINISHED, "", 0
        self._config = config
        self._schedule = config.schedule
        self._ranks = ranks
        self._lock = RunLock(directory / "LOCK")
        self._logger_types: list[LoggerType] = []
        self._loggers: list[MetricsLogger] = []
        taken_over = ""
        self._changes: list[SettingChange] = []
        opening = f"opening {directory}"
        with ranks.raise_on_all_ranks(opening), storage_errors(f"creating {directory}"):
            if ranks.is_first:
                self._logger_types = logger_types(config.loggers)
                for part in ("checkpoints", "samples", "evaluation"):
                    (directory / part).mkdir(parents=True, exist_ok=True)
                taken_over = self._lock.acquire(lambda text: print(text, flush=True))
                remove_summary(directory)
        self._console = Console(directory / "console.log" if ranks.is_first else None)
        if taken_over:
            self.message(taken_over)
        self._stopping = Stopping(config, ranks, directory, self._console)
        self._retention = Retention.of(config)
        try:
            self._checkpoints = Checkpoints(
                directory / "checkpoints",
                ranks=ranks,
                retention=self._retention,
                report=self.message,
                audit=audit,
            )
            with ranks.raise_on_all_ranks(opening), storage_errors(f"tidying {directory}"):
                if ranks.is_first:
                    self._checkpoints.sweep()
                    remove_unfinished(directory)
            self._newest = self._checkpoints.newest_valid()
            self._unfinished = "" if self._newest is None else self._newest.unfinished()
            with ranks.raise_on_all_ranks(opening), storage_errors(f"writing {directory}"):
                if self._newest is not None:
                    self._newest.check_resumable(config.resume)
                if ranks.is_first:
                    self._compare_settings()
        except BaseException as error:
            self._summarize(error)
            self.close()
            raise
        self._progress = RunProgress(config.schedule)
        self._stopping.install()
        self._saved_step = 0 if self._newest is None else self._newest.step
        self._given_up = 0  # the step that was interrupted before its update
        self._save_seconds: dict[str, float] = {}
        self._resets = 0

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._summarize(error)
        is_over = error is None and self.exit_code is ExitCode.FINISHED and not self._unfinished
        if is_over and self._ranks.is_first:
            remove_kept_parts(self.directory / "evaluation")
        self.close()

    def _summarize(self, error: BaseException | None) -> None:
        code, cause = (int(self.exit_code), self._cause or "finished") if error is None else told_by(error)
        if error is not None or self._ranks.is_first:
            write_summary(self.directory, code, cause, step=self._saved_step, rank=self._ranks.rank)

    def message(self, text: str) -> None:
        """Print a line on the console and in console.log."""
        self._console.line(text)

    def phase(self, text: str) -> contextlib.AbstractContextManager[None]:
        """A long part of the set-up, announced and timed: "starting the engine … 14 s"."""
        return self._console.phase(text)

    # Resuming and saving

    @property
    def saved_state(self) -> dict[str, Any] | None:
        """The state that `save` returned for the checkpoint that this run resumes from; None for a fresh start."""
        return None if self._newest is None else self._newest.state

    def resume(self, restore: Callable[[Path], None]) -> int:
        """Continue from the newest intact checkpoint: `restore(directory)` on every rank. Collective.

        Returns the updates that are done, 0 for a fresh start: the last step, which may lack its evaluation (see
        `next_step`). Files and rows of later steps are removed.
        """
        for change in self._changes:
            own = changes.also_set(self._config, self._newest.stage if self._newest else 0, change.key)
            self.message(f"changed setting: {change.text}, from step {change.step + 1} on{own}")
        step = self._saved_step
        self._stopping.install()  # libraries that were started since may have put theirs in place
        if self._newest is not None:
            with self.phase(f"resuming {'in the evaluation of' if self._unfinished else 'after'} step {step}"):
                restore(self._newest.directory)
        last: Metrics = {}
        with self._ranks.raise_on_all_ranks("resuming"), storage_errors(f"writing {self.directory}"):
            if self._ranks.is_first:
                finished = step - bool(self._unfinished)
                done = -1 if self._newest is None else finished  # a fresh start keeps nothing, not even step 0
                last = cut_metrics(self.directory / METRICS, done)
                cut_parity(self.directory / PARITY, done)
                go_on(self.directory / DECISIONS, finished, self._changes)
                write_settings(self.directory / changes.CONFIG, self._config)
                record_start(self.directory)
                self._retention.resume(read_rows(self.directory / METRICS), read_rows(self.directory / DECISIONS))
                last_step = self._schedule.steps
                kept = -1 if self._newest is None else step  # an unfinished step's policy is what it will be
                evaluations.remove_after(self.directory / "evaluation", kept, is_last=finished >= last_step)
                remove_samples_after(self.directory / "samples", finished)
                for make in self._logger_types:
                    self._loggers.append(make(self.directory, after=done))
        self._resets = int(self._ranks.broadcast(last.get("reference/resets", 0.0)))
        return step

    def save(self, step: int, save: Save, unfinished: str = "") -> None:
        """Write a checkpoint: `save(directory, step)` puts this rank's files there and returns the state of all ranks
        as JSON (rank 0's is kept); `unfinished` is the record of a step that is not evaluated yet. Collective. Raises
        StorageError on every rank when one of them cannot write."""
        if step == self._saved_step:
            return
        started = time.monotonic()
        with self._ranks.raise_on_all_ranks(f"saving step {step}"):
            self._lock.check()
        self._console.status(f"saving step {step}")
        with self._checkpoints.writing(step) as directory:
            state = save(directory, step)
            if self._ranks.is_first:
                changes.write_in_force(directory, self._in_force, step)
                write_durably(directory / STATE, json.dumps({AFTER: step} | state, allow_nan=False))
                if unfinished:
                    write_durably(directory / UNFINISHED, unfinished)
        if self._ranks.is_first and not unfinished:
            remove_kept_parts(self.directory / "evaluation")
        self._console.status("")
        self._saved_step, self._unfinished = step, unfinished
        seconds = time.monotonic() - started
        self._progress.save_done(seconds)
        self._save_seconds = {SAVE: seconds}

    def _compare_settings(self) -> None:
        """Find the settings that are others than when the checkpoint was saved; `resume` says and records them. Rank 0
        only. Raises ConfigError for one that must not change.
        """
        self._in_force = changes.in_force(self._config)
        if self._newest is None:
            write_settings(self.directory / changes.CONFIG, self._config)
            return
        before = changes.read_in_force(self._newest.directory)
        step, stage = self._newest.step - bool(self._unfinished), self._newest.stage
        self._changes = changes.changes(before, self._in_force, stage=stage, step=step, where=self._newest.directory)

    # The loop

    @contextlib.contextmanager
    def step(self, step: int, save: Save | None = None) -> Iterator[StepLog]:
        """Step number `step` (from 1). When it ends without an exception its row is on disk. Collective.

        Interrupted before its update, or without groups to train on, it is given up and the step before it is saved;
        interrupted later it is saved itself.
        """
        heading = f"step {step}/{self._schedule.steps}"
        left = self._progress.seconds_left(step - 1)
        log = StepLog(
            heading=heading if left is None else f"{heading}, left {duration(left)}",
            console=self._console,
            resets=self._resets,
            earlier=self._unfinished,
        )
        try:
            yield log
        except (Interrupted, NoInformativeGroupsError):
            self.should_stop()
            if save is not None and log.is_updated:
                self.save(step, save, unfinished=log.to_json())
            elif save is not None and step > 1:
                self.save(step - 1, save)
            self._given_up = 0 if log.is_updated else step
            raise
        finally:
            self._console.status("")
        if self._unfinished:  # until now; its checkpoint is replaced by the next one
            self._unfinished, self._saved_step = "", step - 1
        seconds = log.timer.seconds()
        self._progress.step_done(seconds)
        self._resets = log.resets
        if "length/total" in log.metrics:  # sampled tokens over all that a step does, not over sampling alone
            seconds["tokens_per_second"] = log.metrics["length/total"] / seconds["step"]
        metrics = log.all_metrics(seconds | self._save_seconds) | memory()
        self._retention.observe(step, metrics)
        for event in log.events:
            self._retention.decide(to_row(step, event))
        self._save_seconds = {}
        with self._ranks.raise_on_all_ranks(f"recording step {step}"):
            self._lock.check()
            if self._ranks.is_first:
                append_decisions(self.directory / DECISIONS, step, log.events)
                append_parity(self.directory / PARITY, step, log.parity)
                append_metrics(self.directory / METRICS, step, metrics)
                write_samples(self.directory / "samples", step, log.rows)
                for logger in self._loggers:
                    logger.append(step, metrics)
        self._console.line(self._progress.line(step, metrics, seconds["step"]))

    def due(self, step: int, every: int) -> bool:
        """Whether an action of every `every` steps (0: only at the end) is due after this one."""
        return due(step, every, self._schedule.steps)

    def due_to_save(self, step: int) -> bool:
        """Whether a checkpoint is due after this step: at its turn, or because its policy is the best so far."""
        if self.due(step, self._schedule.save_every):
            return True
        return self._schedule.keep_best and bool(self._ranks.broadcast(self._retention.is_best(step)))

    def next_step(self, step: int) -> int | None:
        """The step to do when `step` updates are done: `step` itself if an earlier job was stopped in its evaluation.

        None after the last step, and when the loop must end before it. A step that is begun is finished, also where the
        schedule has become shorter. Collective.
        """
        coming = step if self._unfinished else step + 1
        is_over = coming > self._schedule.steps and not self._unfinished
        return None if is_over or self.should_stop() else coming

    def is_stopping(self) -> bool:
        """Whether this rank has to stop: it has got a signal, or the time is over. Cheap, and not collective."""
        return self._stopping.is_asked()

    def interruption_point(self) -> None:
        """Raise Interrupted on all ranks when one of them has to stop. Collective."""
        if self._ranks.any(self.is_stopping()):
            raise Interrupted

    def should_stop(self) -> bool:
        """Whether the loop must end before its last step; `exit_code` says why. Collective, once per step."""
        if self.exit_code is ExitCode.FINISHED:
            self.exit_code, self._cause = self._stopping.vote()
            if self._cause:
                self.message(f"stopping: {self._cause}")
        return self.exit_code is not ExitCode.FINISHED

    def stop(self, decision: Decision) -> None:
        """End the loop after this step, which is saved; the exit code tells a scheduler not to requeue."""
        self.exit_code = ExitCode.STOPPED_BY_CONTROLLER
        reasons = [event.text for event in decision.events if event.action == "stop"]
        self._cause = "; ".join(reasons)
        self.message(f"stopping: {self._cause}")

    def finish(self, step: int, save: Save) -> ExitCode:
        """Save the last step unless it is saved already. Returns the exit code of the process. Collective."""
        if step > 0:
            self.save(step, save, self._unfinished)
        if self.exit_code is ExitCode.FINISHED:
            total = duration(self._stopping.elapsed_s)
            self.message(f"finished {counted(step, 'step')} after {total}; everything is in {self.directory}")
        else:
            self.say_what_is_saved()
        return self.exit_code

    def interrupted(self, interruption: Interrupted) -> ExitCode:
        """The exit code of a process that was interrupted; says what is kept. Collective."""
        self.should_stop()
        self.say_what_is_saved(f"; an evaluation was interrupted, {interruption}" if interruption.args else "")
        return self.exit_code

    def say_what_is_saved(self, more: str = "") -> None:
        """Tell the user where the run goes on when it is started again."""
        step, steps = self._saved_step, self._schedule.steps
        if self._unfinished:
            saved = f"step {step} of {steps} is saved, its evaluation is not done"
        else:
            saved = f"saved after step {step} of {steps}" if step else "no step is done, so there is no checkpoint"
        if self._given_up:
            more = f"; step {self._given_up} was given up and will be done again{more}"
        total = duration(self._stopping.elapsed_s)
        self.message(f"{saved}{more} ({total}); start it again to go on")

    # Held-out results

    def evaluation(
        self,
        label: str,
        *,
        step: int,
        settings: dict[str, Any],
        metrics: Metrics,
        problems: list[dict[str, Any]],
        keep_answers: Callable[[Path], None] = lambda directory: None,
    ) -> None:
        """Write `evaluation/<label>.json`; see `prorl_mega.run.evaluations` for the fields of a problem. Before that,
        `keep_answers(evaluation/<label>)`. On rank 0 only."""
        if self._ranks.is_first:
            with storage_errors(f"writing {self.directory}"):
                keep_answers(self.directory / "evaluation" / label)
                evaluations.write_evaluation(
                    self.directory / "evaluation",
                    label=label,
                    step=step,
                    settings=settings,
                    metrics=metrics,
                    problems=problems,
                )

    def evaluated(self, label: str, *, step: int, settings: dict[str, Any]) -> Metrics | None:
        """The metrics of that evaluation if it exists already, of this step and under these settings. Collective."""
        found = evaluations.read_evaluation(self.directory / "evaluation" / f"{label}.json")
        is_same = found is not None and found["step"] == step and found["settings"] == settings
        known = self._ranks.broadcast(found["metrics"] if found and is_same else None)
        return known and {name: math.nan if value is None else float(value) for name, value in known.items()}

    def before_training(self, metrics: Metrics) -> None:
        """Record the numbers of the policy that training begins with, as those of step 0."""
        with self._ranks.raise_on_all_ranks("recording step 0"):
            if self._ranks.is_first:
                cut_metrics(self.directory / METRICS, -1)  # of an attempt that ended before the first step
                append_metrics(self.directory / METRICS, 0, metrics)
                for logger in self._loggers:
                    logger.append(0, metrics)

    def kept_parts(self, identity: str) -> KeptParts:
        """The finished parts of an evaluation, until a checkpoint is written or the run has finished."""
        return KeptParts(self.directory / "evaluation", identity, self._ranks)

    def close(self) -> None:
        """Give signals, files and the directory back. May be called more than once."""
        self._stopping.restore()
        with contextlib.ExitStack() as closing:  # whatever one of them raises, the others are closed
            if self._ranks.is_first:
                closing.callback(self._lock.release)
            closing.callback(self._console.close)
            while self._loggers:
                closing.callback(self._loggers.pop().close)
