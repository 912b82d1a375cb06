"""A run over a grid: measures case after case, prints each table, keeps the rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import torch

from prorl_kernels.benchmarks import table
from prorl_kernels.benchmarks.cases import GRIDS, Case
from prorl_kernels.benchmarks.measure import Cell, Effort, measure
from prorl_kernels.benchmarks.plots import write_plots
from prorl_kernels.benchmarks.provider import Provider
from prorl_kernels.benchmarks.registry import PROVIDERS
from prorl_kernels.benchmarks.supervisor import Turn
from prorl_kernels.benchmarks.work import Clock

EFFORTS = {
    "gpu": Effort(seconds=0.6, least=8, most=30, warm_up=8),
    "cpu": Effort(seconds=6.0, least=4, most=12, warm_up=1),
    "tiny": Effort(seconds=0.0, least=4, most=4, warm_up=1),
}


class Session:
    """Measures the cases of a grid and writes to `folder`: `linear_token_stats.csv`, a row as soon as its case is done,
    and pictures of it.

    `cpu_time`: on a CPU count process time instead of wall-clock time. `turn` is told whose turn it is.
    """

    def __init__(
        self, grid: str, folder: Path, cpu_time: bool, providers: list[Provider] = PROVIDERS, turn: Turn | None = None
    ) -> None:
        self.cases, self.effort, self.turn = GRIDS[grid], EFFORTS[grid], turn or Turn()
        self.device = torch.device("cuda" if torch.cuda.is_available() and grid != "cpu" else "cpu")
        self.path, self.cpu_time, self.providers = folder / "linear_token_stats.csv", cpu_time, providers
        self.tables: list[str] = []  # of the cases that were measured
        self._compiled_for: tuple[str, int, int] | None = None  # what torch has compiled its graphs for

    def measure(self, case: Case) -> list[Cell]:
        """The cells of a case; its table is added to `tables`."""
        shape = (case.model, case.tokens, case.ranks)
        if shape != self._compiled_for:
            torch._dynamo.reset()  # other modes of the same shapes share graphs
            self._compiled_for = shape
        clock = Clock(self.device, self.cpu_time)
        cells = measure(case, self.providers, clock, self.effort, self.turn)
        rows = table.rows_of(cells, clock)
        table.append(rows, self.path)
        self.tables.append(f"{case.name}, {rows[0]['dtype']}, {clock.timer}\n{table.text(rows)}")
        del clock
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return cells

    def run(self, seconds: float, show: Callable[[str], None], first: int = 0) -> bool:
        """Measure as many cases as `seconds` allow, from number `first` on; the very first in any case.

        False when an implementation of this package failed.
        """
        began, failed = time.monotonic(), list[Cell]()
        for number, case in enumerate(self.cases[first:], first):
            self.turn.case = number
            if number and time.monotonic() - began > seconds:
                left = f"{len(self.cases) - number} of {len(self.cases)}"
                show(f"out of time: {left} cases were not measured, from '{case.name}' on")
                break
            failed += [cell for cell in self.measure(case) if cell.status.startswith("failed")]
            show(self.tables[-1] + "\n")
            self.turn.over()
        show(self.plot())
        return not any(cell.provider.name.startswith("prorl") for cell in failed)

    def plot(self) -> str:
        """A line about the pictures."""
        if not self.path.exists():
            return "nothing was measured"
        try:
            pictures = [str(path) for path in write_plots(self.path)]
        except ImportError as error:
            return f"no pictures: {error}"
        return f"pictures: {', '.join(pictures)}" if pictures else "no pictures: too few cases"
