"""A run and its directory, `<root>/<name>/`; all files of a run are written through it.

config.yaml       the settings in force            samples/       a few answers per step
metrics.jsonl     a row per step, 0: the base      evaluation/    results on held-out problems
tensorboard/      the same, by `loggers`           checkpoints/   complete states, newest last
decisions.jsonl   the controller's decisions       starts.jsonl   versions, commit and command of every start
parity.jsonl      sampler against learner          console.log    the lines of the console
LOCK              the process that writes here     servers/       logs of vLLM servers, where there are any
spikes/           batches of harmful updates       faults/        witnesses of faults on purpose
run_summary.json  how the last job ended, and why  slurm/         logs of attempts, `prorl_mega.submit`
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prorl_mega import faults
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.validate import name_problems
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, ExitCode, NoInformativeGroupsError, NumericsError
from prorl_mega.run import changes
from prorl_mega.run.checkpoints import AFTER, STATE, UNFINISHED, Audit, Checkpoints
from prorl_mega.run.console import Console, counted, duration
from prorl_mega.run.decisions import SettingChange, rolled_back, to_row
from prorl_mega.run.evaluation_folder import EvaluationFolder
from prorl_mega.run.leaks import Leaks
from prorl_mega.run.lock import RunLock
from prorl_mega.run.progress import SAVE, RunProgress, due
from prorl_mega.run.provenance import record_start
from prorl_mega.run.record import RunRecord
from prorl_mega.run.retention import Retention
from prorl_mega.run.settings import write_settings
from prorl_mega.run.signals import Interrupted
from prorl_mega.run.spikes import Spikes
from prorl_mega.run.step import StepLog
from prorl_mega.run.stopping import Stopping
from prorl_mega.run.storage import remove_unfinished, storage_errors, write_durably
from prorl_mega.run.summary import remove_summary, told_by, write_summary
from prorl_mega.types import Decision, Event, Metrics

Save = Callable[[Path, int], dict[str, Any]]
"""Writes this rank's files of the checkpoint after a step into a directory; returns the rest of the state as JSON."""


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
        self._config, self._schedule = config, config.schedule
        self._ranks = ranks
        self._lock = RunLock(directory / "LOCK")
        self._record: RunRecord | None = None  # rank 0's
        self._changes: list[SettingChange] = []
        taken_over = ""
        opening = f"opening {directory}"
        with ranks.raise_on_all_ranks(opening), storage_errors(f"creating {directory}"):
            if ranks.is_first:
                self._record = RunRecord(directory, config.loggers)
                for part in ("checkpoints", "samples", "evaluation"):
                    (directory / part).mkdir(parents=True, exist_ok=True)
                taken_over = self._lock.acquire(lambda text: print(text, flush=True))
                remove_summary(directory)
        self._console = Console(directory / "console.log" if ranks.is_first else None)
        if taken_over:
            self.message(taken_over)
        self._stopping = Stopping(config, ranks, directory, self._console)
        self._retention = Retention.of(config)
        self._checkpoints = Checkpoints(
            directory / "checkpoints", ranks=ranks, retention=self._retention, report=self.message, audit=audit
        )
        self.evaluations = EvaluationFolder(directory / "evaluation", ranks)
        self.spikes = Spikes(directory, config.optimizer.spike_factor, is_first=ranks.is_first)
        try:
            self._find_checkpoint()
        except BaseException as error:
            self._summarize(error)
            self.close()
            raise
        self._progress = RunProgress(config.schedule)
        self._stopping.install()
        faults.arm(config.faults, ranks.rank, directory)
        if config.faults:
            self.message(f"faults are caused on purpose in this run: {len(config.faults)} (faults)")
        faults.reach("open")
        self._saved_step = 0 if self._newest is None else self._newest.step
        self._begun = ""  # as `_unfinished`, of the checkpoint that is being written
        self._save_seconds: dict[str, float] = {}
        # The step interrupted before its update; resets in all; rollbacks since the last checkpoint.
        self._given_up = self._resets = self._rollbacks = 0
        self._went_back: Event | None = None
        self._leaks = Leaks()

    def _find_checkpoint(self) -> None:
        """The checkpoint to go on from, and what has changed since. Collective."""
        directory, ranks, opening = self.directory, self._ranks, f"opening {self.directory}"
        with ranks.raise_on_all_ranks(opening), storage_errors(f"tidying {directory}"):
            if ranks.is_first:
                self._checkpoints.sweep()
                remove_unfinished(directory)
        self._newest = self._checkpoints.newest_valid()
        self._unfinished = "" if self._newest is None else self._newest.unfinished()
        with ranks.raise_on_all_ranks(opening), storage_errors(f"writing {directory}"):
            if self._newest is not None:
                self._newest.check_resumable(self._config.resume)
            if ranks.is_first:
                self._compare_settings()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._summarize(error)
        is_over = error is None and self.exit_code is ExitCode.FINISHED and not self._unfinished
        if is_over:
            self.evaluations.remove_parts()
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
            faults.reach("load")
            with self.phase(f"resuming {'in the evaluation of' if self._unfinished else 'after'} step {step}"):
                restore(self._newest.directory)
        last: Metrics = {}
        with self._ranks.raise_on_all_ranks("resuming"), storage_errors(f"writing {self.directory}"):
            if self._record is not None:
                finished = step - bool(self._unfinished)
                done = -1 if self._newest is None else finished  # a fresh start keeps nothing, not even step 0
                last = self._record.go_on(done, finished, self._changes, self._retention, self.spikes)
                if self._went_back is not None:
                    self._record.add_event(step, self._went_back)
                write_settings(self.directory / changes.CONFIG, self._config)
                record_start(self.directory)
                last_step = self._schedule.steps
                kept = -1 if self._newest is None else step  # an unfinished step's policy is what it will be
                self.evaluations.go_on(kept, is_last=finished >= last_step)
        self._resets = int(self._ranks.broadcast(last.get("reference/resets", 0.0)))
        self._went_back, self._changes = None, []
        return step

    def last_good_state(self, error: NumericsError) -> dict[str, Any]:
        """The state of the newest checkpoint, to go back to after `error`. Collective.

        Raises `error` where there is none, or where the run has gone back `optimizer.max_rollbacks` times without a new
        checkpoint since.
        """
        self.finish_saving(wait=True)
        self._rollbacks += 1
        most = self._config.optimizer.max_rollbacks
        newest = self._checkpoints.newest_valid() if self._rollbacks <= most else None
        if newest is None:
            raise error
        self._newest, self._unfinished, self._saved_step = newest, newest.unfinished(), newest.step
        return newest.state

    def go_back(self, error: NumericsError, problems: int) -> None:
        """Let `resume` go on from the newest checkpoint, a second time, and write down why. `problems` that were drawn
        since are not drawn again."""
        most, failed = self._config.optimizer.max_rollbacks, self._progress.current
        self._went_back = rolled_back(error, failed, self._saved_step, problems, self._rollbacks, most)
        self.message(self._went_back.text)

    def save(self, step: int, save: Save, unfinished: str = "") -> None:
        """Write a checkpoint: `save(directory, step)` puts this rank's files there and returns the state of all ranks
        as JSON (rank 0's is kept); `unfinished` is the record of a step that is not evaluated yet. Collective. Raises
        StorageError on every rank when one of them cannot write, also about the checkpoint before it."""
        started = time.monotonic()
        self.finish_saving(wait=True)
        if step == self._saved_step:
            return
        faults.reach("save")
        with self._ranks.raise_on_all_ranks(f"saving step {step}"):
            self._lock.check()
        self._console.status(f"saving step {step}")
        with self._checkpoints.begin(step) as directory:
            state = save(directory, step)
            faults.reach("save/shards")
            if self._ranks.is_first:
                changes.write_in_force(directory, self._in_force, step)
                write_durably(directory / STATE, json.dumps({AFTER: step} | state, allow_nan=False))
                if unfinished:
                    write_durably(directory / UNFINISHED, unfinished)
            faults.reach("save/state")
        self._begun = unfinished
        self.finish_saving(wait=not self._schedule.save_in_background)
        self._console.status("")
        seconds = time.monotonic() - started
        self._progress.save_done(seconds)
        self._save_seconds = {SAVE: seconds}

    def finish_saving(self, *, wait: bool) -> None:
        """Make a checkpoint of what `save` has written, if anything, once it is on disk. Collective."""
        step = self._checkpoints.unfinished
        if step is None or not self._checkpoints.complete(wait=wait):
            return
        faults.reach("save/done")
        self._saved_step, self._unfinished, self._rollbacks = step, self._begun, 0
        if not self._unfinished:
            self.evaluations.remove_parts()

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
        faults.begin_step(step)
        self._progress.current = step
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
            self.finish_saving(wait=True)
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
        gathered = self._leaks.measure()
        metrics = log.all_metrics(seconds | self._save_seconds) | gathered
        for leak in self._leaks.observe(gathered):
            self.message(f"warning: {leak}")
        self._retention.observe(step, metrics)
        for event in log.events:
            self._retention.decide(to_row(step, event))
        self._save_seconds = {}
        with self._ranks.raise_on_all_ranks(f"recording step {step}"):
            self._lock.check()
            if self._record is not None:
                self._record.append(step, log, metrics)
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
        self.finish_saving(wait=False)
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
        self._cause = "; ".join(event.text for event in decision.events if event.action == "stop")
        self.message(f"stopping: {self._cause}")

    def finish(self, step: int, save: Save) -> ExitCode:
        """Save the last step unless it is saved already. Returns the exit code of the process. Collective."""
        if step > 0:
            self.save(step, save, self._unfinished)
            self.finish_saving(wait=True)
        if self.exit_code is ExitCode.FINISHED:
            total = f"{counted(step, 'step')} after {duration(self._stopping.elapsed_s)}"
            self.message(f"finished {total}; everything is in {self.directory}")
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
        self.message(f"{saved}{more} ({duration(self._stopping.elapsed_s)}); start it again to go on")

    def before_training(self, metrics: Metrics) -> None:
        """Record the numbers of the policy that training begins with, as those of step 0."""
        with self._ranks.raise_on_all_ranks("recording step 0"):
            if self._record is not None:
                self._record.begin(metrics)

    def close(self) -> None:
        """Give signals, files and the directory back. May be called more than once."""
        self._stopping.restore()
        with contextlib.ExitStack() as closing:  # whatever one of them raises, the others are closed
            if self._ranks.is_first:
                closing.callback(self._lock.release)
            closing.callback(self._console.close)
            closing.callback(self._checkpoints.close)
            if self._record is not None:
                closing.callback(self._record.close)
