"""An evaluation that is going on, and its files: `<root>/<name>/evaluation/<label>/` and, at its end, `<label>.json`.

Whatever else lies in the run's directory is left alone, so that a run can be evaluated while it goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import DataError, ExitCode
from prorl_mega.run.console import Console, counted, duration
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.lock import RunLock
from prorl_mega.run.sample_store import (
    HEADER,
    KEPT,
    PROBLEMS,
    SAMPLES,
    VERDICTS,
    LineWriter,
    Places,
    SampleStore,
    StoredProblem,
    StoreHeader,
    write_header,
)
from prorl_mega.run.stopping import Stopping
from prorl_mega.run.storage import storage_errors
from prorl_mega.types import Metrics

Block = tuple[int, list[int]]
"""The number of a problem, and samples of it by their numbers."""


class EvaluationRun(contextlib.AbstractContextManager["EvaluationRun"]):
    """The folder of an evaluation, held by one job. Methods are collective unless they say otherwise."""

    def __init__(self, config: EvaluateConfig, ranks: Ranks, label: str) -> None:
        """Open the folder, or create it. Raises ConfigError when another process holds it."""
        self.directory = directory = Path(config.root) / config.name / "evaluation" / label
        self.label = label
        self._ranks = ranks
        self._lock = RunLock(directory / "LOCK")
        taken_over = ""
        with ranks.raise_on_all_ranks(f"opening {directory}"), storage_errors(f"creating {directory}", KEPT):
            if ranks.is_first:
                directory.mkdir(parents=True, exist_ok=True)
                taken_over = self._lock.acquire(lambda text: print(text, flush=True))
        self._console = Console(directory / "console.log" if ranks.is_first else None)
        self._stopping = Stopping(config, ranks, directory, self._console)
        self._stopping.install()
        if taken_over:
            self.message(taken_over)

    def __exit__(self, *exception: object) -> None:
        self._stopping.restore()
        self._console.close()
        if self._ranks.is_first:
            self._lock.release()

    @property
    def is_first(self) -> bool:
        """Whether this rank writes what all ranks have found."""
        return self._ranks.is_first

    def message(self, text: str) -> None:
        """Print a line on the console and in console.log. On rank 0 only; not collective."""
        self._console.line(text)

    def phase(self, text: str) -> contextlib.AbstractContextManager[None]:
        """A part of the set-up, announced and timed. Not collective."""
        return self._console.phase(text)

    def is_stopping(self) -> bool:
        """Whether this rank has to stop: it has got a signal, the time is over, or another job has taken the folder.
        Cheap, and not collective."""
        return self._stopping.is_asked() or self._lock.taken_by is not None

    def begin(self, header: StoreHeader, problems: Sequence[StoredProblem]) -> list[Block]:
        """Prepare the store for these problems; returns the samples that each of them lacks, none left out.

        What is there already of the same policy, under the same settings, counts; a store of others is renamed, so that
        nothing is lost. Problems and samples that are there and not asked for stay there, and out of the results.
        """
        missing: list[Block] = []
        doing = f"preparing {self.directory}"
        with self._ranks.raise_on_all_ranks(doing), storage_errors(doing, KEPT):
            if self._ranks.is_first:
                missing = self._prepare(header, problems)
        self._stopping.install()  # libraries that were started since may have put theirs in place
        return [(number, samples) for number, samples in self._ranks.broadcast(missing)]  # nodes may see files late

    @contextlib.contextmanager
    def writers(self, name: int) -> Iterator[tuple[LineWriter, LineWriter]]:
        """The files of samples and of verdicts of one writer, by its number. Not collective."""
        with contextlib.ExitStack() as closing:
            samples = LineWriter(self.directory / SAMPLES / f"{name}.jsonl")
            closing.callback(samples.close)
            verdicts = LineWriter(self.directory / VERDICTS / f"{name}.jsonl")
            closing.callback(verdicts.close)
            yield samples, verdicts

    def progress(self, wanted: int) -> Callable[[int], None]:
        """A function that is told how many answers more this rank has, of `wanted`, and shows them and the time left.
        Not collective."""
        started, done = time.monotonic(), 0

        def show(more: int) -> None:
            nonlocal done
            done += more
            elapsed = time.monotonic() - started
            left = f", left {duration(elapsed / done * (wanted - done))}" if done and elapsed > 1 else ""
            self._console.status(f"{done:,} of {wanted:,} answers{left}" if done < wanted else "waiting for verdicts")

        return show

    def end_of_sampling(self) -> ExitCode:
        """Whether all ranks have got to their end, and why not. Raises ConfigError if another job has taken the folder,
        as one may do that finds this one silent for minutes."""
        self._console.status("")
        with self._ranks.raise_on_all_ranks(f"holding {self.directory}"):
            self._lock.check()
        code, why = self._stopping.vote()
        if why:
            self.message(f"stopping: {why}; answers so far are kept, the same command goes on")
        return code

    def write(self, header: StoreHeader, metrics: Metrics, problems: list[dict[str, Any]]) -> None:
        """Write `<label>.json`, and say where. Rank 0 only, not collective."""
        with storage_errors(f"writing {self.directory.parent}", KEPT):
            write_evaluation(
                self.directory.parent,
                label=self.label,
                step=header.step,
                settings=header.settings,
                metrics=metrics,
                problems=problems,
            )
        self.message(f"results: {self.directory}.json, from the answers in {self.directory}")

    def _prepare(self, header: StoreHeader, problems: Sequence[StoredProblem]) -> list[Block]:
        numbers, done = self._known(header, problems)
        new = [problem for problem in problems if problem.key not in numbers]
        numbers |= {problem.key: number for number, problem in enumerate(new, start=len(numbers))}
        writer = LineWriter(self.directory / PROBLEMS)
        writer.write(new)
        writer.close()
        asked = [numbers[problem.key] for problem in problems]
        header.asked = sorted(asked) if len(asked) < len(numbers) else None
        write_header(self.directory, header)
        return [
            (number, [sample for sample in range(header.samples) if (number, sample) not in done]) for number in asked
        ]

    def _known(self, header: StoreHeader, problems: Sequence[StoredProblem]) -> tuple[dict[str, int], Places]:
        """The store's problems, key to number, and its answers, once what is there is of this policy and of these
        problems."""
        nothing: tuple[dict[str, int], Places] = ({}, Places())
        try:
            store = SampleStore(self.directory)
            there, done = store.problems(), store.done()
        except DataError:
            if (self.directory / HEADER).exists() or (self.directory / SAMPLES).exists():
                self._set_aside("cannot be read")
            else:  # a start that was killed before it wrote its header has sampled nothing
                (self.directory / PROBLEMS).unlink(missing_ok=True)
            return nothing
        numbers = {problem.key: number for number, problem in enumerate(there)}
        changed = any(there[numbers[problem.key]] != problem for problem in problems if problem.key in numbers)
        if len(numbers) < len(there) or not done.are_of(len(there)):
            self._set_aside("cannot be told apart: the list of problems is damaged")
        elif store.header.identity != header.identity:
            differs = store.header.policy != header.policy
            self._set_aside("are of another policy" if differs else "were sampled with other settings")
        elif changed:
            self._set_aside("are answers to problems that have changed")
        else:
            if store.damaged:
                self.message(f"{counted(store.damaged, 'damaged answer')} will be sampled again")
            return numbers, done
        return nothing

    def _set_aside(self, why: str) -> None:
        """Rename what an earlier evaluation has left under this label, the header last: what a kill leaves half done is
        gone on with by the next start."""
        parent, results = self.directory.parent, self.directory.with_name(f"{self.label}.json")
        names = [*(path.name for path in self.directory.glob(f"{VERDICTS}*")), SAMPLES, PROBLEMS]
        for number in itertools.count(1):
            aside = parent / f"{self.label}.{number}"
            moves = [(self.directory / name, aside / name) for name in names]
            moves += [(results, parent / f"{aside.name}.json"), (self.directory / HEADER, aside / HEADER)]
            moves = [(old, new) for old, new in moves if old.exists()]
            if not any(path.exists() for path in (aside / HEADER, *(new for _, new in moves))):
                break
        aside.mkdir(exist_ok=True)
        for old, new in moves:
            os.replace(old, new)
        self.message(f"the answers that were here {why}; they are in {aside} now")
