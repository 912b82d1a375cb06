"""A run over a grid: measures case after case, prints each table, keeps the rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from prorl_kernels.benchmarks import table
from prorl_kernels.benchmarks.cases import Case
from prorl_kernels.benchmarks.clock import new_clock
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

    @property
    def path(self) -> Path:
        return self.folder / "linear_token_stats.csv"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def measure(self, case: Case) -> tuple[list[Cell], str]:
        """The cells of a case, and its table."""
        shape = (case.model.name, case.tokens, case.ranks)
        if shape != self.compiled_for:
            torch._dynamo.reset()  # other modes of the same shapes share graphs
            self.compiled_for = shape
        clock = new_clock(self.device, self.cpu_time)
        timer = "events" if self.device.type == "cuda" else "process time" if self.cpu_time else "wall clock"
        cells = measure(case, self.providers, clock, self.effort, self.device, self.dtype, self._announce)
        around = table.environment()
        rows = [table.row(cell, cells, self.dtype, timer, around) for cell in cells]
        table.append(rows, self.path)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return cells, f"{case.name}, {str(self.dtype).removeprefix('torch.')}, {timer}\n{table.text(rows)}"

    def _announce(self, provider: str) -> None:
        if self.turn is not None:
            self.turn(provider)

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
        cells, text = session.measure(case)
        show(text + "\n")
        if session.turn is not None:
            session.turn.over()
        sound = sound and not any(cell.status.startswith("failed") and cell.name.startswith("prorl") for cell in cells)
    show(session.plot())
    return sound
