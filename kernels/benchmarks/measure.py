"""One case: every provider checked against fp64, then timed in a balanced order."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Case
from prorl_kernels.benchmarks.clock import Clock
from prorl_kernels.benchmarks.footprint import workspaces
from prorl_kernels.benchmarks.problem import STATISTICS, Problem, Truth, new_problem, new_truth
from prorl_kernels.benchmarks.provider import Outputs, Provider
from prorl_kernels.benchmarks.work import Work, bare_products, work_of

PRODUCTS = "bare products"
BLOCKS = 4  # of repetitions; providers take turns, in opposite order every other block


class Effort(NamedTuple):
    """How long to measure one provider in one case."""

    seconds: float
    least: int  # repetitions, but 1 for what takes longer than `seconds`
    most: int
    warm_up: int  # repetitions at most, within a third of the seconds


@dataclass(kw_only=True, slots=True)
class Cell:
    """One provider in one case. Milliseconds are empty unless `status` is "ok"."""

    case: Case
    provider: Provider | None  # None for the bare products
    status: str = "ok"  # "missing: …", "refused: …" and "failed: …" say why there are no numbers
    times: list[tuple[float, float]] = field(default_factory=list)  # ms of the forward pass and of both passes
    first_seconds: float | None = None  # the first call, which compiles
    workspace: float | None = None  # MiB
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return PRODUCTS if self.provider is None else self.provider.name


def measure(
    case: Case,
    providers: list[Provider],
    clock: Clock,
    effort: Effort,
    device: torch.device,
    dtype: torch.dtype,
    announce: Callable[[str], None],
) -> list[Cell]:
    """The bare products first, then a cell per provider; one that cannot run says why in its status.

    `announce` is told whose turn it is: a kernel can take the process with it.
    """
    torch.manual_seed(0)
    problem = new_problem(case, device, dtype)
    truth = cache(partial(new_truth, problem, case.mode))
    cells = [Cell(case=case, provider=None), *(Cell(case=case, provider=provider) for provider in providers)]
    ready: list[tuple[Cell, Work]] = []
    for cell in cells:
        announce(cell.name)
        work = (
            bare_products(problem, case.mode)
            if cell.provider is None
            else _prepare(cell, problem, truth, clock, device)
        )
        if work is not None:
            ready.append((cell, work))
    if device.type == "cpu":
        memory = workspaces(case, [cell.name for cell, _ in ready if cell.provider is not None])
        for cell, _ in ready:
            cell.workspace = memory.get(cell.name)
    turns = [(cell, work, _warm_up(work, clock, effort)) for cell, work in ready]
    for block in range(BLOCKS):
        for cell, work, repetitions in turns if block % 2 == 0 else reversed(turns):
            if cell.status != "ok" or block >= repetitions:
                continue
            announce(cell.name)
            with _failures(cell, device):
                if repetitions > 1:
                    clock.time(work, case.cold)  # the one before may have left other things in caches and clocks
                for _ in range(-(-repetitions // BLOCKS)):
                    cell.times.append(clock.time(work, case.cold))
    return cells


def _prepare(
    cell: Cell, problem: Problem, truth: Callable[[bool], Truth], clock: Clock, device: torch.device
) -> Work | None:
    """First call, check and memory of a provider; None when there is nothing to time."""
    assert cell.provider is not None
    try:
        compute = cell.provider.load()
    except ImportError as error:
        cell.status = f"missing: {_first_line(error)}"
        return None
    reason = cell.provider.refusal(cell.case, device)
    if reason is not None:
        cell.status = f"refused: {reason}"
        return None
    work = work_of(compute, problem, cell.case.mode)
    with _failures(cell, device):
        start = time.perf_counter()
        outputs, gradients = work.run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        cell.first_seconds = time.perf_counter() - start
        cell.errors = _errors(outputs, gradients, truth(outputs.mean_logprob is not None))
        del outputs, gradients
        cell.workspace = clock.workspace(work)
    return work if cell.status == "ok" else None


def _warm_up(work: Work, clock: Clock, effort: Effort) -> int:
    """How many repetitions fit."""
    spent, least = 0.0, float("inf")
    for _ in range(effort.warm_up):
        seconds = clock.time(work, False)[1] / 1e3
        spent, least = spent + seconds, min(least, seconds)
        if spent > effort.seconds / 3:
            break
    if least > effort.seconds > 0:
        return 1
    return max(effort.least, min(effort.most, int(effort.seconds / max(least, 1e-6))))


@contextmanager
def _failures(cell: Cell, device: torch.device) -> Iterator[None]:
    """Turns an exception into the cell's status: one peer that fails must not lose the others."""
    try:
        yield
    except Exception as error:
        cell.status = f"failed: {type(error).__name__}: {_first_line(error)}"
    if cell.status != "ok":  # outside of the handler, which holds what the provider had in memory
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize()  # raises after a wild access: this process can do nothing more on the device
            torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160]


def _errors(outputs: Outputs, gradients: tuple[Tensor, ...], truth: Truth) -> dict[str, float]:
    """Largest absolute error of each statistic, relative Frobenius error of each gradient's sampled rows."""
    errors = {}
    for name in STATISTICS:
        actual, expected = getattr(outputs, name), getattr(truth, name)
        if actual is not None and expected is not None:
            errors[name] = float((actual.detach().double() - expected).abs().max())
    if outputs.mean_logprob is not None:
        errors["mean_logprob"] = float((outputs.mean_logprob.detach().double() - truth.logprob.mean()).abs())
    sampled = ((truth.hidden_rows, truth.d_hidden), (truth.weight_rows, truth.d_weight))
    for name, gradient, (rows, expected) in zip(("d_hidden", "d_weight"), gradients, sampled, strict=False):
        errors[name] = float((gradient[rows].double() - expected).norm() / expected.norm())
    return errors
