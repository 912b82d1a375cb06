"""The stream of training problems and the held-out set, from the weighted entries of `tasks.mixture`.

The next entry depends only on the number of problems drawn so far and on the weights, and the next problem of an entry
only on that entry's cursor. So the cursors are the whole state, and a resumed run continues where it stopped; it
refuses to if a data file has changed. In a job only rank 0 holds a mixture (`shared_mixture.py`).

Held-out problems are never trained on: a hash of the prompt's text decides, for one prompt in `SPLIT`, that it is held
out. Training skips these prompts and evaluation uses no others, whatever entry, seed or index made them.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from prorl_mega.config.schema import TasksConfig
from prorl_mega.errors import CheckpointError, ConfigError, DataError
from prorl_mega.tasks import extension
from prorl_mega.tasks.registry import Contents, Task, create, digest
from prorl_mega.types import Problem

SPLIT = 8
HELD_OUT_SEED = 0x5EED  # the same held-out set for every seed of a run, so that runs can be compared
_SEARCH = 4  # the search for held-out problems ends after this multiple of the expected number of tries
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio


Count = Annotated[int, msgspec.Meta(ge=0)]


class MixtureState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of a mixture in a checkpoint."""

    drawn: Count  # problems so far
    cursors: dict[str, Count]  # index of the next problem of each entry
    files: dict[str, Contents] = {}  # contents of the entries that read files
    modules: dict[str, str] = {}  # digests of the files of `tasks.modules`


class Mixture:
    """Implements `protocols.ProblemSource`. Construction loads and checks every data file and data set."""

    def __init__(self, tasks: TasksConfig, seed: int) -> None:
        """Load everything. Raises ConfigError (unknown task, wrong option) and DataError (broken file)."""
        self._seed = seed
        self._tasks = create_all(tasks)
        self._modules = extension.digests(tasks.modules)
        self.set_weights({entry: config.weight for entry, config in tasks.mixture.items()})
        for task in self._tasks.values():
            task.load()
        self._drawn = 0
        self._cursors = dict.fromkeys(self._tasks, 0)
        self._held_out: dict[str, list[Problem]] = {}
        self._searched = 0  # per_task of the largest search so far

    def draw(self, count: int) -> list[Problem]:
        """The next `count` training problems."""
        return [self._next() for _ in range(count)]

    def set_weights(self, weights: dict[str, float]) -> None:
        """Change the shares of the entries from the next draw on; the cursors stay. An entry of weight 0 is not drawn.

        Weights are settings and not part of the state: after `load_state_dict` they have to be set again.
        """
        assert set(weights) == set(self._tasks), "weights of other entries"
        self._cumulative = list(itertools.accumulate(weights[entry] for entry in self._tasks))
        assert self._cumulative[-1] > 0, "config/ refuses a mixture without a weight above 0"

    def held_out(self, per_task: int) -> list[Problem]:
        """The first `per_task` held-out problems of every entry, grouped by entry, no prompt twice.

        There are fewer if an entry has fewer different prompts; DataError if it has none.
        """
        if per_task > self._searched:
            self._held_out = {entry: self._search(task, per_task) for entry, task in self._tasks.items()}
            self._searched = per_task
        problems: list[Problem] = []
        taken: set[str] = set()
        for entry in self._tasks:
            fresh = [problem for problem in self._held_out[entry][:per_task] if problem.prompt not in taken]
            if not fresh:
                raise DataError(
                    f"tasks.mixture.{entry}: has no held-out problem: one prompt in {SPLIT} is held out, and it has "
                    "too few different prompts. Add problems, or make them more varied (more digits, more words)"
                )
            taken.update(problem.prompt for problem in fresh)
            problems += fresh
        return problems

    def listed(self) -> Iterator[Problem]:
        """All problems of the entries that have a list of them (a file, not a generator)."""
        for task in self._tasks.values():
            for index in range(task.size() or 0):
                yield task.problem(index, self._seed)

    def bound_prompts(self, tokens: Callable[[Problem], int], most: int, setting: str) -> None:
        """Find the problems of files whose prompt has more than `most` `tokens` before a step draws one.

        A task whose options let it skip rows leaves them out and counts them; otherwise DataError names the row.
        `setting` is the key that `most` comes from.
        """
        for task in self._tasks.values():
            details: dict[str, str] = {}
            for index in range(task.size() or 0):
                problem = task.problem(index, self._seed)
                if (count := tokens(problem)) > most:
                    details[problem.key] = (
                        f"the prompt of {problem.key} has {count} tokens and {setting} is {most}; raise the setting, "
                        "leave the problem out"
                    )
            if details:
                task.leave_out("prompt too long", details)

    def loaded(self) -> list[str]:
        """Notes on the entries' data for people: how many rows there are and how many were left out."""
        return [f"tasks.mixture.{entry}: {text}" for entry, task in self._tasks.items() if (text := task.loaded())]

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values: the cursors, and what identifies the data files and the files of `tasks.modules`."""
        files = {entry: found for entry, task in self._tasks.items() if (found := task.contents())}
        state = MixtureState(drawn=self._drawn, cursors=self._cursors, files=files, modules=self._modules)
        return dict(msgspec.to_builtins(state))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Entries that it does not know start at their beginning.

        Raises CheckpointError for a broken state, DataError if a data file has changed (the cursors would point to
        other problems), and ConfigError if a file of `tasks.modules` has changed (rewards could change).
        """
        try:
            saved = msgspec.convert(state, MixtureState)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"the state of the problem mixture is broken: {error}: {str(state)[:200]}") from None
        for entry, before in saved.files.items():
            if entry in self._tasks:
                self._need_same_files(entry, before)
        if changed := [name for name, digest in saved.modules.items() if digest not in self._modules.values()]:
            raise ConfigError(
                f"tasks.modules: {', '.join(changed)} changed since the checkpoint was written, or is not named any "
                "more, and with it what is rewarded; put it back as it was, or start a new run under another name"
            )
        self._drawn = saved.drawn
        self._cursors = {entry: saved.cursors.get(entry, 0) for entry in self._tasks}

    def _need_same_files(self, entry: str, before: Contents) -> None:
        now = self._tasks[entry].contents()
        if now is None or (now.digest, now.rows) != (before.digest, before.rows):  # wherever the files are
            path, rows = (now.path, now.rows) if now else (before.path, 0)
            raise DataError(
                f"tasks.mixture.{entry}: {path} has changed since the checkpoint was written ({before.rows} problems "
                f"then, {rows} now), so the run cannot go on where it was; put the file back as it was, or start a new "
                "run under another name"
            )

    def _next(self) -> Problem:
        """The next problem of the entry whose turn it is.

        Turns follow a Weyl sequence (multiples of the golden ratio, modulo 1): in any stretch of the stream every entry
        has its share to within a few problems, without a period.
        """
        point = ((self._drawn * _GOLDEN + digest(f"turns {self._seed}")) % 2**64) / 2**64
        place = bisect.bisect_right(self._cumulative, point * self._cumulative[-1])
        entry = list(self._tasks)[min(place, len(self._tasks) - 1)]
        self._drawn += 1
        task = self._tasks[entry]
        for _ in range(SPLIT * 100 + 2 * (task.size() or 0)):
            problem = task.problem(self._cursors[entry], self._seed)
            self._cursors[entry] += 1
            if not is_held_out(problem.prompt):
                return problem
        raise DataError(f"tasks.mixture.{entry}: has no problem outside the held-out share; make it more varied")

    def _search(self, task: Task, wanted: int) -> list[Problem]:
        """Up to `wanted` different held-out problems of one task, always the same ones in the same order."""
        tries = task.size() or (wanted * SPLIT * _SEARCH + SPLIT * 16)
        found: dict[str, Problem] = {}
        for index in range(tries):
            problem = task.problem(index, HELD_OUT_SEED)
            if is_held_out(problem.prompt):
                found.setdefault(problem.prompt, problem)
                if len(found) == wanted:
                    break
        return list(found.values())


def describe(tasks: TasksConfig) -> list[str]:
    """Sources of the problems: a line with the share of each entry that reads files, and of each kind of generator.

    Checks options and reads nothing. Raises ConfigError.
    """
    total = sum(config.weight for config in tasks.mixture.values())
    lines, generated = [], dict[str, list[float]]()
    for entry, task in create_all(tasks).items():
        name, share = tasks.mixture[entry].name, tasks.mixture[entry].weight / total
        if source := task.source():
            lines.append(f"{share:.0%} {entry} ({name}): {source}")
        else:
            generated.setdefault(name, []).append(share)
    for name, shares in generated.items():
        lines.append(f"{sum(shares):.0%} {name}: generated{f' by {len(shares)} entries' * (len(shares) > 1)}")
    return lines


def create_all(tasks: TasksConfig) -> dict[str, Task]:
    """The tasks of all entries, with checked options; nothing is read. Raises ConfigError."""
    extension.load(tasks.modules, "tasks.modules")
    return {entry: create(config.name, entry, config.options) for entry, config in tasks.mixture.items()}


def is_held_out(prompt: str) -> bool:
    """Whether a prompt belongs to evaluation; a property of the text alone."""
    return digest(f"split {prompt}") % SPLIT == 0
