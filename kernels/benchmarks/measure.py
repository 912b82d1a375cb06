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
from prorl_kernels.benchmarks.footprint import workspaces
from prorl_kernels.benchmarks.problem import Problem, Truth, new_problem, new_truth
from prorl_kernels.benchmarks.provider import Outputs, Provider
from prorl_kernels.benchmarks.work import Clock, Work, bare_products, work_of

Announce = Callable[[str], None]

BARE = Provider("bare products", lambda: lambda *inputs: Outputs(), "", recomputes=False, computes="nothing else")
BLOCKS = 4  # repetitions come in as many blocks; providers take turns, in opposite order every other block


class Effort(NamedTuple):
    """The time and repetitions to measure one provider in one case."""

    seconds: float
    least: int  # repetitions, but 1 for what takes longer than `seconds`
    most: int
    warm_up: int  # repetitions at most, within a third of the seconds


@dataclass(kw_only=True, slots=True)
class Cell:
    """One provider in one case. Milliseconds are empty unless `status` is "ok"."""

    case: Case
    provider: Provider
    status: str = "ok"  # "missing: …", "refused: …" and "failed: …" say why there are no numbers
    times: list[tuple[float, float]] = field(default_factory=list)  # ms of the forward pass and of both passes
    first_seconds: float | None = None  # the first call, which compiles
    workspace: float | None = None  # MiB
    errors: dict[str, float] = field(default_factory=dict)


def measure(case: Case, providers: list[Provider], clock: Clock, effort: Effort, announce: Announce) -> list[Cell]:
    """The cells of a case: the bare products first, then every provider; a status says why one cannot run.

    `announce` is told whose turn it is: a kernel can take the process with it.
    """
    torch.manual_seed(0)
    problem = new_problem(case, clock.device)
    truth = cache(partial(new_truth, problem, case.mode))
    cells = [Cell(case=case, provider=provider) for provider in (BARE, *providers)]
    ready: list[tuple[Cell, Work]] = []
    for cell in cells:
        announce(cell.provider.name)
        work = _prepare(cell, problem, truth, clock)
        if work is not None:
            ready.append((cell, work))
    if clock.device.type == "cpu":
        memory = workspaces(case, [cell.provider.name for cell, _ in ready])
        for cell, _ in ready:
            cell.workspace = memory.get(cell.provider.name)
    turns = [(cell, work, _warm_up(work, clock, effort)) for cell, work in ready]
    for block in range(BLOCKS):
        for cell, work, repetitions in turns if block % 2 == 0 else reversed(turns):
            if cell.status != "ok" or block >= repetitions:
                continue
            announce(cell.provider.name)
            with _failures(cell, clock.device):
                if repetitions > 1:
                    clock.time(work, case.cold)  # the one before may have left other things in caches and clocks
                for _ in range(-(-repetitions // BLOCKS)):
                    cell.times.append(clock.time(work, case.cold))
    return cells


def _prepare(cell: Cell, problem: Problem, truth: Callable[[bool], Truth], clock: Clock) -> Work | None:
    """First call, check and memory of a provider; None when there is nothing to time."""
    if cell.provider is BARE:
        return bare_products(problem, cell.case.mode)
    try:
        compute = cell.provider.load()
    except ImportError as error:
        cell.status = f"missing: {_first_line(error)}"
        return None
    reason = cell.provider.refusal(cell.case, clock.device)
    if reason is not None:
        cell.status = f"refused: {reason}"
        return None
    work = work_of(compute, problem, cell.case.mode)
    with _failures(cell, clock.device):
        start = time.perf_counter()
        outputs, gradients = work.run()
        if clock.device.type == "cuda":
            torch.cuda.synchronize()
        cell.first_seconds = time.perf_counter() - start
        cell.errors = _errors(outputs, gradients, truth(outputs.mean_logprob is not None))
        del outputs, gradients
        cell.workspace = clock.workspace(work)
    return work if cell.status == "ok" else None


def _warm_up(work: Work, clock: Clock, effort: Effort) -> int:
    """The number of repetitions that fit into the time."""
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
    """Turn an exception into the cell's status: one peer that fails must not lose the others."""
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
    errors = {
        name: float((actual.detach().double() - truth.statistics[name]).abs().max())
        for name, actual in outputs._asdict().items()
        if actual is not None
    }
    for name, gradient in zip(("d_hidden", "d_weight"), gradients, strict=False):
        rows, expected = getattr(truth, name)
        errors[name] = float((gradient[rows].double() - expected).norm() / expected.norm())
    return errors
