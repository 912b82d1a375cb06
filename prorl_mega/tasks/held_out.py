"""The split between training and evaluation: which problems are trained on, and those that are evaluated.

By default (`split: auto`) a hash of the prompt's text decides, for one prompt in `SPLIT`, that it is held out, whatever
entry, seed or index made it. All rows of an entry with `split: validation` are evaluated, and all rows of one with
`split: train` are trained on. Whatever the splits, no prompt that is evaluated is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from prorl_mega.config.schema import EvaluationConfig, Split, TaskConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks.registry import Task, digest
from prorl_mega.types import Problem

SPLIT = 8
HELD_OUT_SEED = 0x5EED  # the same held-out set for every seed of a run, so that runs can be compared
_SEARCH = 4  # the search for held-out problems ends after this multiple of the expected number of tries
_MOST_TRIES = 20_000  # with those that problems add which cannot be used


class HeldOut:
    """The held-out problems of all entries. Construct it when the rows of files that cannot be used are gone."""

    def __init__(
        self, tasks: Mapping[str, Task], entries: Mapping[str, TaskConfig], usable: Callable[[Problem], bool]
    ) -> None:
        """`usable` is asked for generated problems that would be evaluated."""
        self._tasks = tasks
        self._splits = {entry: config.split for entry, config in entries.items()}
        self._most = {entry: config.problems for entry, config in entries.items()}  # 0: no bound of its own
        self._usable = usable
        self._found: dict[str, list[Problem]] = {}
        self._searched = 0  # per_task of the largest search so far
        self._notes: list[str] = []
        self._evaluated = {problem.prompt for entry in self._of(Split.validation) for problem in self._rows(entry)}
        whole = self._of(Split.train)
        if self._evaluated:  # then an entry need not have held-out problems of its own
            whole += [entry for entry in self._of(Split.auto) if self._lacks(entry, held_out=False)]
        self._whole = frozenset(whole)
        self._trained = {
            problem.prompt for entry in whole for problem in self._rows(entry) if is_held_out(problem.prompt)
        }

    def trains(self, entry: str, problem: Problem) -> bool:
        """Whether training may draw this problem of `entry`."""
        if self._splits[entry] is Split.validation or problem.prompt in self._evaluated:
            return False
        return entry in self._whole or not is_held_out(problem.prompt)

    def check(self, trained: Collection[str]) -> None:
        """Raise DataError for a file that has nothing to evaluate, or nothing to train on though it is in `trained`."""
        for entry in self._of(Split.auto):
            if not self._evaluated and self._lacks(entry, held_out=True):
                raise self._nothing_held_out(entry)
        for entry in trained:
            rows = range(self._tasks[entry].size() or 0)
            if rows and not any(self.trains(entry, self._tasks[entry].problem(index, HELD_OUT_SEED)) for index in rows):
                raise self.nothing_trained(entry)

    def nothing_trained(self, entry: str) -> DataError:
        return DataError(
            f"tasks.mixture.{entry}: has no problem outside the held-out share (one prompt in {SPLIT}, and those of "
            "entries with `split: validation`); add problems, or an entry with `split: validation`, beside which a "
            "file of a few prompts is trained on whole"
        )

    def problems(self, per_task: int) -> list[Problem]:
        """The first `per_task` held-out problems of every entry, grouped by entry; see `Mixture.held_out`."""
        if per_task > self._searched:
            self._found = {entry: self._search(entry, self._wanted(entry, per_task)) for entry in self._tasks}
            self._searched = per_task
        problems: list[Problem] = []
        taken: set[str] = set()
        for entry in self._tasks:
            first = self._found[entry][: self._wanted(entry, per_task)]
            if self._splits[entry] is not Split.validation:
                first = [problem for problem in first if problem.prompt not in taken]
            if not first and not self._evaluated and self._splits[entry] is Split.auto:
                raise self._nothing_held_out(entry)
            taken.update(problem.prompt for problem in first)
            problems += first
        return problems

    def describe(self, entry: str, evaluation: EvaluationConfig) -> str:
        """How many rows of a file with a split of its own are evaluated, for people; empty for other entries."""
        if self._splits[entry] is Split.train:
            return "split train: all are trained on, none is evaluated"
        if self._splits[entry] is Split.auto:
            return "too few to be split: all are trained on, none is evaluated" if entry in self._whole else ""
        rows = self._tasks[entry].size() or 0
        few, many = (
            self._wanted(entry, count) for count in (evaluation.problems_per_task, evaluation.final_problems_per_task)
        )
        parts = [
            f"{'all' if count >= rows else f'the same {count}'} {when} (evaluation.{key}={count})"
            for count, key, when in (
                (few, "problems_per_task", "in validations"),
                (many, "final_problems_per_task", "before and after training"),
            )
        ]
        amount = "all" if min(few, many) >= rows else ", ".join(parts)
        return f"split validation: none is trained on; evaluated: {amount}"

    def take_notes(self) -> list[str]:
        """Notes for people on the searches since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _wanted(self, entry: str, per_task: int) -> int:
        return min(per_task, self._most[entry] or per_task)

    def _of(self, split: Split) -> list[str]:
        return [entry for entry in self._tasks if self._splits[entry] is split]

    def _rows(self, entry: str) -> list[Problem]:
        task = self._tasks[entry]
        return [task.problem(index, HELD_OUT_SEED) for index in range(task.size() or 0)]

    def _lacks(self, entry: str, *, held_out: bool) -> bool:
        """Whether a file has no prompt that is held out, or none that is not."""
        task = self._tasks[entry]
        indexes = range(task.size() or 0)
        return bool(indexes) and all(
            is_held_out(task.problem(index, HELD_OUT_SEED).prompt) is not held_out for index in indexes
        )

    def _search(self, entry: str, wanted: int) -> list[Problem]:
        """Up to `wanted` different held-out problems of one entry, always the same ones in the same order."""
        task, split = self._tasks[entry], self._splits[entry]
        if split is Split.validation:
            return [task.problem(index, HELD_OUT_SEED) for index in range(min(wanted, task.size() or 0))]
        if entry in self._whole:
            return []
        size = task.size()
        tries = size or (wanted * SPLIT * _SEARCH + SPLIT * 16)
        found: dict[str, Problem] = {}
        index = 0
        while index < tries and len(found) < wanted:
            problem = task.problem(index, HELD_OUT_SEED)
            index += 1
            if not is_held_out(problem.prompt):
                continue
            if problem.prompt in self._evaluated or problem.prompt in self._trained:
                continue
            if self._usable(problem):
                found.setdefault(problem.prompt, problem)
            elif size is None:
                tries = min(tries + SPLIT, max(tries, _MOST_TRIES))
        if len(found) < wanted:
            remedy = "; split: validation evaluates all its rows" if size else ""
            self._notes.append(
                f"tasks.mixture.{entry}: {len(found)} held-out problems for evaluation, not {wanted}: one prompt in "
                f"{SPLIT} is held out{remedy}"
            )
        return list(found.values())

    def _nothing_held_out(self, entry: str) -> DataError:
        return DataError(
            f"tasks.mixture.{entry}: has no held-out problem: one prompt in {SPLIT} is held out, and it has too few "
            "different prompts. Add problems, make them more varied (more digits, more words), or add an entry with "
            "`split: validation`, whose rows are evaluated instead"
        )


def check_splits(tasks: Mapping[str, Task], splits: Mapping[str, Split]) -> None:
    """Raise ConfigError for a split that a task cannot have."""
    for entry, split in splits.items():
        if split is not Split.auto and tasks[entry].size() is None:
            raise ConfigError(
                f"tasks.mixture.{entry}.split={split.value} is for the rows of a file, and {entry} generates "
                "problems without end: one in eight is held out (split=auto), and with weight=0 none is trained on"
            )


def is_held_out(prompt: str) -> bool:
    """Whether a prompt belongs to evaluation by `split: auto`; a property of the text alone."""
    return digest(f"split {prompt}") % SPLIT == 0
