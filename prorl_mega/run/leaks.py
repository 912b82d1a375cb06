"""Things that a process should not gather: memory, open files, threads, children. A run of weeks dies of small leaks.

Each is measured after every step. What goes up and down is judged by its floor, the least of a window of steps: a leak
raises every floor. A step's own growth, caches that fill, and Python's collector do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil

from prorl_mega.types import Metrics

MEMORY_PREFIX = "memory/"  # like timings, not reproducible
WINDOW = 100  # steps
RISES = 4  # floors in a row, each above the one before

LEAST = {"resident_mib": 1.0, "open_files": 0.5, "threads": 0.5, "children": 0.5}
"""The rise from floor to floor that counts, for 100 steps."""


@dataclass(slots=True)
class _Watched:
    least: float | None = None  # in this window
    floors: list[float] = field(default_factory=list)  # of the windows before, as long as they rise

    def take(self, value: float) -> None:
        self.least = value if self.least is None else min(self.least, value)

    def close(self, rise: float) -> float:
        """End a window; the rise per window if it is a leak, otherwise 0."""
        assert self.least is not None
        if self.floors and self.least < self.floors[-1] + rise:
            self.floors = []
        self.floors.append(self.least)
        self.least = None
        if len(self.floors) <= RISES:
            return 0.0
        slope = (self.floors[-1] - self.floors[0]) / (len(self.floors) - 1)
        self.floors = self.floors[-1:]  # told once, and again when it goes on as long
        return slope


class Leaks:
    """Counts of this rank's process."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window, self._process, self._steps = window, psutil.Process(), 0
        self._watched = {name: _Watched() for name in LEAST}

    def measure(self) -> Metrics:
        """Resident memory, MiB, of this process (verifiers are not counted), its open files, threads and children."""
        process = self._process
        with process.oneshot():
            return {
                f"{MEMORY_PREFIX}resident_mib": process.memory_info().rss / 2**20,
                f"{MEMORY_PREFIX}open_files": float(process.num_fds()),
                f"{MEMORY_PREFIX}threads": float(process.num_threads()),
                f"{MEMORY_PREFIX}children": float(len(process.children())),
            }

    def observe(self, measured: Metrics) -> list[str]:
        """Take in what `measure` returned after a step. One sentence for everything that leaks."""
        self._steps += 1
        for name, watched in self._watched.items():
            watched.take(measured[MEMORY_PREFIX + name])
        if self._steps % self._window:
            return []
        slopes = {name: each.close(LEAST[name] * self._window / WINDOW) for name, each in self._watched.items()}
        return [
            f"{MEMORY_PREFIX}{name} rises steadily, by {slope:.3g} per {self._window} steps over "
            f"{RISES * self._window} steps: a leak"
            for name, slope in slopes.items()
            if slope
        ]
