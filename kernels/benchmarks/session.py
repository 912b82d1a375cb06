"""A run over a grid: measures case after case, prints each table, keeps the rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from prorl_kernels.benchmarks import table
from prorl_kernels.benchmarks.cases import Case
from prorl_kernels.benchmarks.clock import Clock
from prorl_kernels.benchmarks.measure import Cell, Effort, measure
from prorl_kernels.benchmarks.plots import write_plots
from prorl_kernels.benchmarks.provider import Provider
from prorl_kernels.benchmarks.supervisor import Turn

EFFORTS = {
    "gpu": Effort(seconds=0.6, least=8, most=30, warm_up=8),
    "cpu": Effort(seconds=6.0, least=4, most=12, warm_up=1),
    "tiny": Effort(seconds=0.0, least=4, most=4, warm_up=1),
}


@dataclass(kw_only=True, slots=True)
class Session:
    """Writes `linear_token_stats.csv`, a row as soon as its case is done, and pictures of it to `folder`."""

    folder: Path
    device: torch.device
    effort: Effort
    cpu_time: bool  # a CPU's clock stands still while other programs run
    providers: list[Provider]
    turn: Turn | None = None  # says whose turn it is
    compiled_for: tuple[str, int, int] | None = None  # what torch has compiled its graphs for
    tables: list[str] = field(default_factory=list)  # of the cases that were measured

    @property
    def path(self) -> Path:
        return self.folder / "linear_token_stats.csv"

    def measure(self, case: Case) -> list[Cell]:
        """The cells of a case; its table is added to `tables`."""
        shape = (case.model.name, case.tokens, case.ranks)
        if shape != self.compiled_for:
            torch._dynamo.reset()  # other modes of the same shapes share graphs
            self.compiled_for = shape
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        clock = Clock(self.device, self.cpu_time)
        announce = self.turn or (lambda provider: None)
        cells = measure(case, self.providers, clock, self.effort, self.device, dtype, announce)
        rows = table.rows_of(cells, dtype, clock.timer)
        table.append(rows, self.path)
        self.tables.append(f"{case.name}, {rows[0]['dtype']}, {clock.timer}\n{table.text(rows)}")
        del clock
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return cells

    def plot(self) -> str:
        """A line about the pictures."""
        if not self.path.exists():
            return "nothing was measured"
        try:
            pictures = [str(path) for path in write_plots(self.path)]
        except ImportError as error:
            return f"no pictures: {error}"
        return f"pictures: {', '.join(pictures)}" if pictures else "no pictures: too few cases"


def run(session: Session, cases: list[Case], seconds: float, show: Callable[[str], None], first: int = 0) -> bool:
    """As many cases as `seconds` allow, from number `first` on; the very first in any case.

    False when an implementation of this package failed.
    """
    began, sound = time.monotonic(), True
    for number, case in enumerate(cases[first:], first):
        if session.turn is not None:
            session.turn.case = number
        if number and time.monotonic() - began > seconds:
            show(f"out of time: {len(cases) - number} of {len(cases)} cases were not measured, from '{case.name}' on")
            break
        cells = session.measure(case)
        show(session.tables[-1] + "\n")
        if session.turn is not None:
            session.turn.over()
        sound = sound and not any(cell.status.startswith("failed") and cell.name.startswith("prorl") for cell in cells)
    show(session.plot())
    return sound
