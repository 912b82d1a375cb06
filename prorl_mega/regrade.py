"""The answers of an evaluation judged once more, by today's verifiers: no GPU, no engine, nothing is sampled.

    python -m prorl_mega.evaluate --regrade runs/demo/evaluation/policy              all answers
    python -m prorl_mega.evaluate --regrade runs/demo/evaluation/policy --missing    those without a verdict

Old verdicts are kept in `verdicts.1/` and so on. What is done survives being killed, and the same command goes on,
unless verifiers or settings have changed since: then it begins again, so that all verdicts are of the same judges.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_mega.config.compose import to_tasks
from prorl_mega.config.messages import explain
from prorl_mega.config.schema import RunConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError, ExitCode, exit_status
from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.evaluation.verdict_changes import change_lines, changes
from prorl_mega.grader import Grader
from prorl_mega.reporting.score_lines import score_lines
from prorl_mega.run.console import Console, counted, duration
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.lock import RunLock
from prorl_mega.run.sample_store import HEADER, VERDICTS, LineWriter, Places, SampleStore, StoredText
from prorl_mega.run.signals import StopSignals
from prorl_mega.run.storage import storage_errors
from prorl_mega.run.verdict_folders import NEW, VerdictFolders
from prorl_mega.stored import to_problem
from prorl_mega.tasks.registry import create
from prorl_mega.types import Problem
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.protocol import digests, summary

FLAG = "--regrade"
MOST_WAITING = 4096  # answers in memory
COPIED = 4096  # verdicts that are written at a time
WAIT_S = 0.5  # for verdicts, between two looks at whether to stop


def regrade_if_asked(arguments: list[str]) -> None:
    """Judge anew and leave the process if `--regrade` is among the arguments of `evaluate`."""
    if FLAG not in arguments:
        return
    parser = argparse.ArgumentParser(
        prog=f"python -m prorl_mega.evaluate {FLAG}",
        description=__doc__.partition("\n\n")[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, help="of an evaluation: runs/demo/evaluation/policy")
    parser.add_argument("--missing", action="store_true", help="only answers without a verdict")
    parser.add_argument("--workers", type=int, help="processes that judge (default: one per processor)")
    options = parser.parse_args([each for each in arguments if each != FLAG])
    if options.workers is not None and options.workers < 1:
        parser.error("--workers has to be at least 1")
    code = ExitCode.FINISHED

    def work() -> None:
        nonlocal code
        code = regrade(options.directory, missing=options.missing, workers=options.workers)

    sys.exit(exit_status(work) or code)


def regrade(directory: Path, *, missing: bool = False, workers: int | None = None) -> ExitCode:
    """Judge the answers in an evaluation's folder anew, with `workers` processes (None: one per processor).

    With `missing` verdicts with a reward stay, and only the others are judged. Raises DataError, ConfigError and
    StorageError.
    """
    store = SampleStore(directory)
    everything = SampleStore(directory, everything=True)  # a larger evaluation that comes back finds its verdicts
    tasks = _settings(store, workers)
    with _Regrading(directory) as work:
        problems = [to_problem(problem) for problem in store.problems()]
        if unknown := sorted({problem.task for problem in problems} - tasks.mixture.keys()):
            raise DataError(f"{directory / HEADER}: tasks.mixture has no {', '.join(unknown)}, which problems are of")
        if missing and next(everything.unjudged(), None) is None:
            work.say("every answer has a verdict")
        elif _judge(work, everything, problems, tasks, missing):
            _tell(work, store, work.folders.publish())
        else:
            work.say("stopping: verdicts so far are kept, the same command goes on")
            return ExitCode.SAVED_AFTER_SIGNAL
        rewrite_summary(store, work.say)
    return ExitCode.FINISHED


def rewrite_summary(store: SampleStore, say: Callable[[str], None]) -> None:
    """Write the summary of a store, `<label>.json` beside it, from what is in it now."""
    metrics, records = summarise_store(store)
    directory, header = store.directory, store.header
    with storage_errors(f"writing {directory.parent}"):
        write_evaluation(
            directory.parent,
            label=directory.name,
            step=header.step,
            settings=header.settings,
            metrics=metrics,
            problems=records,
        )
    for line in score_lines(metrics, directory):
        say(line)


class _Regrading(contextlib.ExitStack):
    """The folder of an evaluation while it is judged again: its lock, its console, its signals."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        lock = RunLock(directory / "LOCK")
        lock.acquire(lambda text: print(text, flush=True))
        self.callback(lock.release)
        with self._closed_on_failure():
            self._console = Console(directory / "console.log")
            self.callback(self._console.close)
            self._signals = StopSignals(announce=True)
            self._signals.install()
            self.callback(self._signals.restore)
            self.folders = VerdictFolders(directory)

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def say(self, text: str) -> None:
        self._console.line(text)

    def is_stopping(self) -> bool:
        return self._signals.received is not None

    def progress(self, wanted: int) -> Callable[[int], None]:
        """A function that is told how many answers are judged, of `wanted`, and shows that and the time left."""
        started = time.monotonic()

        def show(done: int) -> None:
            elapsed = time.monotonic() - started
            left = f", left {duration(elapsed / done * (wanted - done))}" if done and elapsed > 1 else ""
            self._console.status(f"{done:,} of {wanted:,} answers judged{left}" if done < wanted else "")

        return show


def _settings(store: SampleStore, workers: int | None) -> TasksConfig:
    """The tasks that the answers are to, judged by processes of this machine. Raises ConfigError."""
    where = store.directory / HEADER
    given = store.header.config.get("tasks")
    if not isinstance(given, dict):
        raise DataError(f"{where}: config.tasks must be a group of settings; evaluate again")
    try:
        tree = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create({"tasks": given}))
        tasks = to_tasks(tree, lambda tasks, _: tasks)  # type: ignore[arg-type]  # two groups give a group
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {explain(error, RunConfig)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return dataclasses.replace(tasks, servers=[], workers=workers or len(os.sched_getaffinity(0)))


def _judge(work: _Regrading, store: SampleStore, problems: list[Problem], tasks: TasksConfig, missing: bool) -> bool:
    """Judge what is not judged yet, into the new folder. Whether all is."""
    judges = f"{summary(digests(tasks))}{' missing' if missing else ''}"
    for entry, each in tasks.mixture.items():
        create(each.name, entry, each.options).check_machine()
    goes_on = work.folders.begin(judges)
    with contextlib.ExitStack() as closing:
        writer = LineWriter(work.directory / NEW / "0.jsonl")
        closing.callback(writer.close)
        done = store.rewarded(NEW)
        if missing:
            done = _copy_rewarded(store, writer, done)
        wanted = len(store.done())
        work.say(
            f"{counted(wanted, 'answer')} to {counted(len(problems), 'problem')}"
            + (f", {len(done):,} of them judged already" if missing or goes_on else "")
        )
        texts = (
            each for each in store.texts() if each.problem < len(problems) and (each.problem, each.sample) not in done
        )
        pool = closing.enter_context(VerifierPool(tasks, work.say))
        grader = Grader(closing.enter_context(pool.batch()), problems, writer.write)
        damaged = store.damaged
        if not _all_judged(work, grader, texts, wanted - len(done)):
            return False
        if store.damaged > damaged:
            work.say(f"damaged lines that were left out: {store.damaged - damaged:,}")
        return True


def _copy_rewarded(store: SampleStore, writer: LineWriter, done: Places) -> Places:
    """Copy the verdicts with a reward that the new folder lacks; returns all places that it has then."""
    lines = []
    for verdict in store.verdicts():
        if verdict.reward is not None and done.add(verdict.problem, verdict.sample):
            lines.append(verdict)
        if len(lines) >= COPIED:
            writer.write(lines)
            lines.clear()
    writer.write(lines)
    return done


def _all_judged(work: _Regrading, grader: Grader, texts: Iterator[StoredText], wanted: int) -> bool:
    show, added = work.progress(wanted), 0
    for each in texts:
        grader.add(each.problem, each.sample, each.text)
        grader.poll()
        added += 1
        while grader.unfinished >= MOST_WAITING and not work.is_stopping():
            grader.wait(WAIT_S)
            show(added - grader.unfinished)
        if work.is_stopping():
            return False
    while not grader.wait(WAIT_S):
        show(added - grader.unfinished)
        if work.is_stopping():
            return False
    show(wanted)
    return True


def _tell(work: _Regrading, store: SampleStore, kept: str) -> None:
    """Say what has changed since the verdicts in the folder `kept`."""
    if kept:
        for line in change_lines(changes(store, kept, VERDICTS), [problem.key for problem in store.problems()]):
            work.say(line)
        work.say(f"the verdicts before are in {work.directory / kept}")
