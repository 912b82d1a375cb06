"""The stream of training problems and the held-out set, from the weighted entries of `tasks.mixture`.

The next entry depends only on the number of problems drawn so far and on the weights, and the next problem of an entry
only on that entry's place (`problem_stream.py`). So the places are the whole state, and a resumed run continues where
it stopped; it refuses to if a data file has changed. In a job only rank 0 holds a mixture (`shared_mixture.py`).

Held-out problems are never trained on: a hash of the prompt's text decides, for one prompt in `SPLIT`, that it is held
out. Training skips these prompts and evaluation uses no others, whatever entry, seed or index made them. `split` of an
entry can say instead that all its rows are evaluated, or trained on (`held_out.py`).

A problem that the run cannot use, because its prompt is too long for the engine, say, is neither drawn nor evaluated
(`objection.py`): rows of files are found when the files are read, generated problems when they are made.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from prorl_mega.config.schema import EvaluationConfig, Split, TasksConfig
from prorl_mega.errors import CheckpointError, ConfigError, DataError
from prorl_mega.tasks import extension
from prorl_mega.tasks.held_out import HeldOut, check_splits
from prorl_mega.tasks.objection import Check, leave_out_rows, probe_generators
from prorl_mega.tasks.problem_stream import ProblemStream
from prorl_mega.tasks.registry import Contents, Task, create, digest
from prorl_mega.tasks.second_opinion import second_verifiers
from prorl_mega.types import Metrics, Problem

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class MixtureState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of a mixture in a checkpoint."""

    drawn: Count  # problems so far
    cursors: dict[str, Count]  # index of the next problem of each entry
    postponed: dict[str, list[Count]] = {}  # smaller indexes that are still to come
    files: dict[str, Contents] = {}  # contents of the entries that read files
    modules: dict[str, str] = {}  # digests of the files of `tasks.modules`

    def __post_init__(self) -> None:
        for entry, indexes in self.postponed.items():
            if max(indexes, default=-1) >= self.cursors.get(entry, 0) or len(set(indexes)) < len(indexes):
                raise ValueError(f"what is postponed of {entry!r} is not before its cursor, each problem once")
        if unknown := self.files.keys() - self.cursors.keys():
            raise ValueError(f"a file of {min(unknown)!r}, which has no cursor")


class Mixture:
    """Implements `protocols.ProblemSource`. Construction loads and checks every data file and data set."""

    def __init__(self, tasks: TasksConfig, seed: int, check: Check | None = None) -> None:
        """Load everything. `check` objects to problems that the run cannot use.

        Raises ConfigError (unknown task, wrong option, a generator whose problems cannot be used) and DataError (broken
        file, a row that cannot be used).
        """
        self._seed = seed
        self._tasks = create_all(tasks)
        self._modules = extension.digests(tasks.modules)
        for task in self._tasks.values():
            task.load()
        self._check = check
        self._said: set[str] = set()  # entries of which a problem that was left out has been named
        self._unusable: list[str] = []  # these problems, until people have been told
        self._notes: list[str] = []
        if check is not None:
            leave_out_rows(self._tasks, check, seed)
            probe_generators(self._tasks, check)
        self._held_out = HeldOut(self._tasks, tasks.mixture, lambda problem: self._objection(problem) is None)
        self.set_weights(tasks.training_weights())
        self._drawn = 0
        self._left_out: Counter[str] = Counter()  # reason: generated problems since `draw_metrics`
        self._streams = {entry: ProblemStream(task, seed, self._is_drawable) for entry, task in self._tasks.items()}

    def draw(self, count: int, times: Mapping[str, int] | None = None) -> list[Problem]:
        """The next `count` training problems.

        `times` says how often the current step has which problems (by key) already: rows that it has less often come
        first.
        """
        taken = Counter(times or {})
        problems = []
        for stream in self._streams.values():
            stream.begin()
        for _ in range(count):
            problems.append(self._next(taken))
            taken[problems[-1].key] += 1
        return problems

    def draw_metrics(self) -> Metrics:
        """How many generated problems were left out for which reason since the last call; empty if none was."""
        metrics = {f"problems/{reason.replace(' ', '_')}": float(count) for reason, count in self._left_out.items()}
        self._left_out.clear()
        return metrics

    def set_weights(self, weights: dict[str, float]) -> None:
        """Change the shares of the entries from the next draw on; the cursors stay. An entry of weight 0 is not drawn.

        Weights are settings and not part of the state: after `load_state_dict` they have to be set again.
        """
        assert set(weights) == set(self._tasks), "weights of other entries"
        self._weights = dict(weights)
        self._cumulative = list(itertools.accumulate(weights[entry] for entry in self._tasks))

    def held_out(self, per_task: int) -> list[Problem]:
        """The first `per_task` held-out problems of every entry, grouped by entry.

        Of an entry with `split: validation` these are rows of the file in an order that never changes; of others
        different prompts, of which there may be fewer. DataError if there is none where nothing else is evaluated.
        """
        return self._held_out.problems(per_task)

    def check_files(self) -> None:
        """Raise DataError for a file that is too small to be split: a run would find out only at its first steps."""
        self._held_out.check(trained=[entry for entry, share in self._weights.items() if share > 0])

    def take_notes(self) -> list[str]:
        """Notes for people on the draws and searches since the last call."""
        lines = self._notes + self._held_out.take_notes()
        if self._unusable:
            lines.append(
                f"left out: {'; '.join(self._unusable)}; such problems are counted (problems/… of a step) and others "
                "are drawn in their place"
            )
        self._notes, self._unusable = [], []
        return lines

    def loaded(self, evaluation: EvaluationConfig) -> list[str]:
        """Notes on the entries' data for people: how many rows there are, were left out, and will be evaluated."""
        lines = []
        for entry, task in self._tasks.items():
            if texts := [text for text in (task.loaded(), self._held_out.describe(entry, evaluation)) if text]:
                lines.append(f"tasks.mixture.{entry}: {'; '.join(texts)}")
        return lines

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values: the places of the streams, and what identifies data files and files of `tasks.modules`."""
        state = MixtureState(
            drawn=self._drawn,
            cursors={entry: stream.cursor for entry, stream in self._streams.items()},
            postponed={entry: stream.postponed for entry, stream in self._streams.items() if stream.postponed},
            files={entry: found for entry, task in self._tasks.items() if (found := task.contents())},
            modules=self._modules,
        )
        return dict(msgspec.to_builtins(state))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Entries that it does not know start at their beginning.

        Raises CheckpointError for a broken state, DataError if a data file has changed (the cursors would point to
        other problems), and ConfigError if a file of `tasks.modules` has changed (rewards could change).
        """
        saved = read_state(state)
        for entry, before in saved.files.items():
            if entry in self._tasks:
                self._need_same_files(entry, before)
        if changed := [name for name, digest in saved.modules.items() if digest not in self._modules.values()]:
            raise ConfigError(
                f"tasks.modules: {', '.join(changed)} changed since the checkpoint was written, or is not named any "
                "more, and with it what is rewarded; put it back as it was, or start a new run under another name"
            )
        self._drawn = saved.drawn
        for entry, stream in self._streams.items():
            stream.cursor = saved.cursors.get(entry, 0)
            stream.postponed = list(saved.postponed.get(entry, []))
            rows = self._tasks[entry].size() or 0
            if entry in saved.files and saved.files[entry].rows != rows:
                self._restart_pass(entry, saved.files[entry].rows, rows)

    def _restart_pass(self, entry: str, before: int, now: int) -> None:
        """Go on with the next pass over the rows of a file: others of them can be used than before, by another
        `rollout.max_prompt_tokens`, say, so that the places inside this pass mean other rows."""
        stream = self._streams[entry]
        stream.cursor = -(-stream.cursor // max(1, before)) * now
        stream.postponed = []
        self._notes.append(
            f"tasks.mixture.{entry}: {now} rows can be used, {before} before: a new pass over them begins with the "
            "next problem"
        )

    def _need_same_files(self, entry: str, before: Contents) -> None:
        now = self._tasks[entry].contents()
        if now is None or now.digest != before.digest:  # wherever the files are
            path, rows = (now.path, now.rows) if now else (before.path, 0)
            raise DataError(
                f"tasks.mixture.{entry}: {path} has changed since the checkpoint was written ({before.rows} problems "
                f"then, {rows} now), so the run cannot go on where it was; put the file back as it was, or start a new "
                "run under another name"
            )

    def _next(self, times: Mapping[str, int]) -> Problem:
        """The next problem of the entry whose turn it is.

        Turns follow a Weyl sequence (multiples of the golden ratio, modulo 1): in any stretch of the stream every entry
        has its share to within a few problems, without a period.
        """
        assert self._cumulative[-1] > 0, "config/ refuses training without a weight above 0"
        point = ((self._drawn * _GOLDEN + digest(f"turns {self._seed}")) % 2**64) / 2**64
        place = bisect.bisect_right(self._cumulative, point * self._cumulative[-1])
        entry = list(self._tasks)[min(place, len(self._tasks) - 1)]
        self._drawn += 1
        problem = self._streams[entry].next(times)
        if problem is None:
            raise self._nothing_to_draw(entry)
        return problem

    def _nothing_to_draw(self, entry: str) -> DataError:
        if self._tasks[entry].size() is not None:
            return self._held_out.nothing_trained(entry)
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(self._left_out.items()))
        return DataError(
            f"tasks.mixture.{entry}: makes no more problems that can be trained on ({reasons or 'all are held out'}); "
            "change its options, or leave the entry out"
        )

    def _is_drawable(self, problem: Problem) -> bool:
        """Whether training can use this problem of `problem.task`."""
        if not self._held_out.trains(problem.task, problem):
            return False
        if (reason := self._objection(problem)) is not None:
            self._left_out[reason] += 1
        return reason is None

    def _objection(self, problem: Problem) -> str | None:
        """Why the run cannot use a generated problem; rows of files were looked at when they were read."""
        if self._check is None or self._tasks[problem.task].size() is not None:
            return None
        if (objection := self._check(problem)) is None:
            return None
        if problem.task not in self._said:
            self._said.add(problem.task)
            self._unusable.append(objection.detail)
        return objection.reason


def read_state(state: dict[str, Any]) -> MixtureState:
    """The state that a mixture's `state_dict` has given. Raises CheckpointError for a broken one."""
    try:
        return msgspec.convert(state, MixtureState)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"the state of the problem mixture is broken: {error}: {str(state)[:200]}") from None


def describe(tasks: TasksConfig) -> list[str]:
    """Sources of the problems: a line with the share of each entry that reads files, and of each kind of generator.

    Checks options, and of files that are there the first rows. Raises ConfigError, and DataError for columns that no
    schema knows.
    """
    weights = tasks.training_weights()
    total = sum(weights.values())
    lines, generated = [], dict[str, list[float]]()
    for entry, task in create_all(tasks).items():
        config, share = tasks.mixture[entry], weights[entry] / (total or 1)
        if source := task.source():
            part = "validation:" if config.split is Split.validation else f"{share:.0%}"
            lines.append(f"{part} {entry} ({config.name}): {source}")
        else:
            generated.setdefault(f"{config.name}{'' if share else ' for evaluation alone'}", []).append(share)
    for name, shares in generated.items():
        lines.append(f"{sum(shares):.0%} {name}: generated{f' by {len(shares)} entries' * (len(shares) > 1)}")
    return lines


def create_all(tasks: TasksConfig) -> dict[str, Task]:
    """The tasks of all entries, with checked options, also of their second verifiers; nothing is read. Raises
    ConfigError."""
    extension.load(tasks.modules, "tasks.modules")
    made = {entry: create(config.name, entry, config.options) for entry, config in tasks.mixture.items()}
    second_verifiers(tasks)
    check_splits(made, {entry: config.split for entry, config in tasks.mixture.items()})
    return made
