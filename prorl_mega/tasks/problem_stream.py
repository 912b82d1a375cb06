"""The training problems of one entry, in the order of their indexes, each index once.

The rows of a file come back in every pass. Within a step another row is better than the same one again: a row that the
step has more often than another one is postponed, and comes as soon as it is that other row's turn to be repeated,
or in the next step. So the order changes a little at the border of two passes and nothing is lost: what is postponed is
part of the state. A generator never repeats a key, so its problems come in the order of their indexes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from prorl_mega.tasks.registry import Task
from prorl_mega.types import Problem

TRIES = 10_000  # indexes of a generator without a problem that can be used, before it is given up


class ProblemStream:
    """`cursor` is the next index of `task`; `postponed` are smaller ones whose problems are still to come."""

    def __init__(self, task: Task, seed: int, usable: Callable[[Problem], bool]) -> None:
        self.cursor = 0
        self.postponed: list[int] = []
        self._task = task
        self._seed = seed
        self._usable = usable
        self._level = 0  # every row that can be used has been drawn at least so often in this step

    def begin(self) -> None:
        """Another draw begins, whose counts may be lower."""
        self._level = 0

    def next(self, times: Mapping[str, int]) -> Problem | None:
        """The first problem that this step has least often; `times` says how often it has each key.

        None if no index gives a problem that can be used.
        """
        size = self._task.size()
        reach = TRIES if size is None else 2 * size  # the rest of this pass, and a whole one, which has every row
        best: tuple[int, int, Problem] | None = None  # times, index, problem
        passed: list[int] = []
        for index in itertools.chain(self.postponed, range(self.cursor, self.cursor + reach)):
            problem = self._task.problem(index, self._seed)
            if not self._usable(problem):
                continue
            count = times.get(problem.key, 0)
            if best is None or count < best[0]:
                best = (count, index, problem)
            if best[0] <= self._level:
                break
            passed.append(index)
        if best is None:
            return None
        self._level, taken, problem = best
        self._move_past(taken, passed)
        return problem

    def _move_past(self, taken: int, passed: Iterable[int]) -> None:
        """Go on behind `taken`, and postpone those that were passed."""
        if taken < self.cursor:
            self.postponed.remove(taken)
            return
        self.postponed += [index for index in passed if self.cursor <= index < taken]
        self.cursor = taken + 1
