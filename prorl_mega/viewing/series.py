"""The numbers of a run as columns in bounded memory: a run that is longer than that is averaged, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Numbers = Mapping[str, float | None]
MOST_NAMES = 400  # of a run with a task mixture of a hundred entries
LONGEST_NAME = 200  # characters


class GrowingSeries:
    """Rows by rising step. A row stands for `stride` steps, 1 until there are more than `most_rows`: their mean.

    `start` has the numbers of step 0, which is no row.
    """

    def __init__(self, most_rows: int) -> None:
        assert most_rows % 2 == 0, most_rows
        self._most = most_rows
        self.clear()

    def clear(self) -> None:
        self.stride = 1
        self.cuts = 0  # how often rows were taken back
        self.start: dict[str, float] = {}
        self.names: dict[str, int] = {}  # place of a column
        self._count = 0
        self._steps = np.empty(0, np.int64)  # [capacity]
        self._values = np.empty((0, 0))  # [capacity, names]
        self._rest: list[tuple[int, np.ndarray]] = []  # rows that do not fill a stride yet

    def __len__(self) -> int:
        return self._count + bool(self._rest)

    @property
    def last_step(self) -> int:
        """0 before the first row."""
        if self._rest:
            return self._rest[-1][0]
        return int(self._steps[self._count - 1]) if self._count else 0

    @property
    def bytes(self) -> int:
        """Memory of the numbers."""
        return self._values.nbytes + self._steps.nbytes

    def extend(self, rows: Iterable[tuple[int, Numbers]]) -> None:
        """Add rows; one whose step is not beyond the last takes back all rows from that step on."""
        waiting: list[tuple[int, Numbers]] = []
        last = self.last_step
        for step, numbers in rows:
            if step == 0:
                self.start = {name: float(value) for name, value in numbers.items() if value is not None}
            if step <= last:
                self._add(waiting)
                waiting = []
                self._cut(step)
            if step > 0:
                waiting.append((step, numbers))
            last = step
        self._add(waiting)

    def steps(self) -> np.ndarray:
        """`[n]` int64."""
        rest = [self._rest[-1][0]] if self._rest else []
        return np.concatenate([self._steps[: self._count], np.array(rest, np.int64)])

    def columns(self) -> dict[str, np.ndarray]:
        """`[n]` float64 by name, NaN where there is no number; names without any number are left out."""
        values = self._values[: self._count]
        if self._rest:
            values = np.concatenate([values, self._mean_of_rest()])
        known: Any = np.isfinite(values).any(axis=0)
        return {name: values[:, place] for name, place in self.names.items() if known[place]}

    def _cut(self, step: int) -> None:
        self._rest = [row for row in self._rest if row[0] < step]
        kept = int(np.searchsorted(self._steps[: self._count], step))
        self.cuts += 1
        if kept < self._count:
            self._count, self._rest = kept, []

    def _add(self, rows: list[tuple[int, Numbers]]) -> None:
        if not rows:
            return
        for _, numbers in rows:
            if not numbers.keys() <= self.names.keys():
                self._take_in(numbers)
        names = list(self.names)
        block = np.array([[numbers.get(name) for name in names] for _, numbers in rows], dtype=np.float64)
        block[~np.isfinite(block)] = np.nan
        if self.stride == 1 and self._count + len(rows) <= self._most:
            self._append(np.array([step for step, _ in rows]), block)
            return
        for (step, _), row in zip(rows, block, strict=True):
            self._rest.append((step, row))
            if len(self._rest) == self.stride:
                whole, self._rest = self._mean_of_rest(), []
                self._append(np.array([step]), whole)

    def _take_in(self, numbers: Numbers) -> None:
        for name in numbers:
            if name not in self.names and len(self.names) < MOST_NAMES and len(name) <= LONGEST_NAME:
                self.names[name] = len(self.names)
        missing = len(self.names) - self._values.shape[1]
        if missing:
            more = np.full((len(self._values), missing), np.nan)
            self._values = np.concatenate([self._values, more], axis=1)
            self._rest = [(step, np.concatenate([row, np.full(missing, np.nan)])) for step, row in self._rest]

    def _append(self, steps: np.ndarray, block: np.ndarray) -> None:
        end = self._count + len(steps)
        if end > len(self._steps):
            room = min(self._most, max(64, end + end // 4)) - len(self._steps)
            self._steps = np.concatenate([self._steps, np.zeros(room, np.int64)])
            self._values = np.concatenate([self._values, np.full((room, self._values.shape[1]), np.nan)])
        self._steps[self._count : end], self._values[self._count : end] = steps, block
        self._count = end
        if end == self._most:
            self._halve()

    def _halve(self) -> None:
        half = self._count // 2
        self._steps[:half] = self._steps[1 : self._count : 2]
        self._values[:half] = _mean(self._values[: self._count].reshape(half, 2, -1))
        self._count = half
        self.stride *= 2

    def _mean_of_rest(self) -> np.ndarray:
        return _mean(np.stack([row for _, row in self._rest])[None])


def _mean(rows: np.ndarray) -> np.ndarray:
    """`[n, names]` of `[n, rows, names]`, NaN where no row has a number."""
    known = np.isfinite(rows)
    total, count = np.where(known, rows, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
