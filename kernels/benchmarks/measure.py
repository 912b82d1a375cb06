"""One case: every provider checked against fp64, then timed in a balanced order."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Case, Mode
from prorl_kernels.benchmarks.clock import Clock
from prorl_kernels.benchmarks.footprint import workspaces
from prorl_kernels.benchmarks.problem import Problem, Truth, new_problem, new_truth
from prorl_kernels.benchmarks.provider import Outputs, Provider
from prorl_kernels.benchmarks.work import OUTPUTS, Work, bare_products, work_of

PRODUCTS = "bare products"
BLOCKS = 4  # of repetitions; providers take turns, in opposite order every other block


@dataclass(kw_only=True, slots=True, frozen=True)
class Effort:
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
    forward: list[float] = field(default_factory=list)  # ms
    total: list[float] = field(default_factory=list)  # ms, both passes
    first_seconds: float | None = None  # of the first call, which compiles
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
    truths = _Truths(problem, case.mode)
    cells = [Cell(case=case, provider=None), *(Cell(case=case, provider=provider) for provider in providers)]
    ready = [
        (cell, work) for cell in cells if (work := _prepare(cell, problem, truths, clock, device, announce)) is not None
    ]
    if device.type == "cpu":
        memory = workspaces(case, [cell.name for cell, _ in ready if cell.provider is not None])
        for cell, _ in ready:
            cell.workspace = memory.get(cell.name)
    repetitions = {id(cell): _warm_up(cell, work, clock, effort) for cell, work in ready}
    for block in range(BLOCKS):
        for cell, work in ready if block % 2 == 0 else reversed(ready):
            if cell.status != "ok" or block >= repetitions[id(cell)]:
                continue
            announce(cell.name)
            with _failures(cell, device):
                if repetitions[id(cell)] > 1:
                    clock.time(work, case.cold)  # the one before may have left other things in caches and clocks
                for _ in range(-(-repetitions[id(cell)] // BLOCKS)):
                    forward, total = clock.time(work, case.cold)
                    cell.forward.append(forward)
                    cell.total.append(total)
    return cells


def _prepare(
    cell: Cell,
    problem: Problem,
    truths: _Truths,
    clock: Clock,
    device: torch.device,
    announce: Callable[[str], None],
) -> Work | None:
    """First call, check and memory; None when there is nothing to time."""
    mode = cell.case.mode
    announce(cell.name)
    if cell.provider is None:
        return bare_products(problem, mode)
    try:
        compute = cell.provider.load()
    except ImportError as error:
        cell.status = f"missing: {_first_line(error)}"
        return None
    reason = cell.provider.refusal(cell.case, device)
    if reason is not None:
        cell.status = f"refused: {reason}"
        return None
    work = work_of(compute, problem, mode)
    with _failures(cell, device):
        start = time.perf_counter()
        outputs = work.forward()
        gradients = () if work.backward is None else work.backward(outputs)
        if device.type == "cuda":
            torch.cuda.synchronize()
        cell.first_seconds = time.perf_counter() - start
        cell.errors = _errors(outputs, gradients, truths)
        del outputs, gradients
        cell.workspace = clock.workspace(work)
    return work if cell.status == "ok" else None


def _warm_up(cell: Cell, work: Work, clock: Clock, effort: Effort) -> int:
    """How many repetitions fit."""
    spent, least = 0.0, float("inf")
    for _ in range(effort.warm_up):
        milliseconds = clock.time(work, False)[1]
        spent, least = spent + milliseconds / 1e3, min(least, milliseconds / 1e3)
        if spent > effort.seconds / 3:
            break
    if least > effort.seconds > 0:
        return 1
    return max(effort.least, min(effort.most, int(effort.seconds / max(least, 1e-6))))


class _failures:  # noqa: N801
    """Turns an exception into the cell's status: one peer that fails must not lose the others."""

    def __init__(self, cell: Cell, device: torch.device) -> None:
        self._cell, self._device = cell, device

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self._cell.status = f"failed: {kind.__name__}: {_first_line(error)}"
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize()  # raises after a wild access: this process can do nothing more on the device
            torch.cuda.empty_cache()
        return True


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [""])[0][:160]


class _Truths:
    """Of per-token upstream gradients, and of the mean's; made when first asked for."""

    def __init__(self, problem: Problem, mode: Mode) -> None:
        self._problem, self._mode = problem, mode
        self._made: dict[bool, Truth] = {}

    def of(self, *, mean: bool) -> Truth:
        if mean not in self._made:
            upstream = torch.zeros_like(self._problem.upstream)
            if mean:
                upstream[0] = 1.0 / upstream.shape[1]
            else:
                for name in self._mode.gradients:
                    row = OUTPUTS.index(name)
                    upstream[row] = self._problem.upstream[row]
            self._made[mean] = new_truth(self._problem, upstream)
        return self._made[mean]


def _errors(outputs: Outputs, gradients: tuple[Tensor, ...], truths: _Truths) -> dict[str, float]:
    """Largest absolute error of each statistic, relative Frobenius error of each gradient's sampled rows."""
    truth = truths.of(mean=outputs.mean_logprob is not None)
    pairs = {name: (getattr(outputs, name), getattr(truth, name)) for name in OUTPUTS}
    errors = {
        name: float((actual.detach().double() - expected).abs().max())
        for name, (actual, expected) in pairs.items()
        if actual is not None and expected is not None
    }
    if outputs.mean_logprob is not None:
        errors["mean_logprob"] = float((outputs.mean_logprob.detach().double() - truth.logprob.mean()).abs())
    sampled = ((truth.hidden_rows, truth.hidden_grad), (truth.weight_rows, truth.weight_grad))
    for name, gradient, (rows, expected) in zip(("d_hidden", "d_weight"), gradients, sampled, strict=False):
        errors[name] = float((gradient[rows].double() - expected).norm() / expected.norm())
    return errors
