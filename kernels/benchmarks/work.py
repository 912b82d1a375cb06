"""One repetition, forward pass and backward pass, and its time: by events on a GPU, by a clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Mode
from prorl_kernels.benchmarks.problem import STATISTICS, Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs

FLUSH_BYTES = 256 << 20  # more than any L2 cache
MIB = 1 << 20
MOST_LOGITS = 1 << 32  # up to this many the bare products make all logits at once, else in parts


@dataclass(kw_only=True, slots=True, frozen=True)
class Work:
    forward: Callable[[], Any]
    backward: Callable[[Any], tuple[Tensor, ...]] | None  # takes what forward returned; None when there is none

    def run(self) -> tuple[Any, tuple[Tensor, ...]]:
        """Do one repetition; returns the results of both passes."""
        state = self.forward()
        return state, () if self.backward is None else self.backward(state)


def work_of(compute: Compute, problem: Problem, mode: Mode) -> Work:
    """An implementation's work: forward returns `Outputs`, backward d_hidden and, unless frozen, d_weight."""
    differentiates = bool(mode.gradients)
    problem.hidden.requires_grad_(differentiates)
    problem.weight.requires_grad_(differentiates and not mode.frozen_head)
    inputs = [each for each in (problem.hidden, problem.weight) if each.requires_grad]

    def forward() -> Outputs:
        with torch.set_grad_enabled(differentiates):
            return compute(problem, mode)

    def backward(outputs: Outputs) -> tuple[Tensor, ...]:
        if outputs.mean_logprob is not None:
            return torch.autograd.grad(outputs.mean_logprob, inputs)
        statistics = [getattr(outputs, name) for name in mode.gradients]
        upstream = [problem.upstream[STATISTICS.index(name)] for name in mode.gradients]
        upstream = [each.to(statistic.dtype) for each, statistic in zip(upstream, statistics, strict=True)]
        return torch.autograd.grad(statistics, inputs, upstream)

    return Work(forward=forward, backward=backward if differentiates else None)


def bare_products(problem: Problem, mode: Mode) -> Work:
    """The matrix products that no method can avoid, without anything else, by torch in the inputs' dtype."""
    hidden, weight = problem.hidden.detach(), problem.weight.detach()
    active = int(problem.active.sum())
    step = max(1, min(len(hidden), MOST_LOGITS // len(weight)))
    parts = [slice(start, min(start + step, len(hidden))) for start in range(0, len(hidden), step)]

    def forward() -> Tensor:
        for rows in parts:
            if problem.ref_hidden is not None and problem.ref_weight is not None:
                logits = problem.ref_hidden[rows] @ problem.ref_weight.t()
                del logits
            logits = hidden[rows] @ weight.t()
        return logits

    def backward(logits: Tensor) -> tuple[Tensor, ...]:
        for rows in parts:
            count = min(rows.stop, active) - rows.start
            if count <= 0:
                continue
            gradient = logits[: min(count, len(logits))]
            of_hidden = gradient @ weight
            if not mode.frozen_head:
                of_weight = gradient.t() @ hidden[rows.start : rows.start + len(gradient)]
        return (of_hidden,) if mode.frozen_head else (of_hidden, of_weight)

    return Work(forward=forward, backward=backward if mode.gradients else None)


def bytes_of(results: Any) -> int:
    """The size of the tensors in (possibly nested) tuples."""
    if isinstance(results, Tensor):
        return results.numel() * results.element_size()
    return sum(bytes_of(each) for each in results if each is not None)


class Clock:
    """Measures wall-clock time on a CPU, or process time (all threads) on a machine with other work. On a GPU slow
    launches by the host count, as they do in use."""

    def __init__(self, device: torch.device, cpu_time: bool) -> None:
        self.device, cuda = device, device.type == "cuda"
        self.timer = "events" if cuda else "process time" if cpu_time else "wall clock"
        self._now = time.process_time if cpu_time else time.perf_counter
        self._flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=device) if cuda else None

    def time(self, work: Work, cold: bool) -> tuple[float, float]:
        """Milliseconds of the forward pass and of both passes."""
        if cold and self._flush is not None:
            self._flush.fill_(1)
        start = self._mark()
        state = work.forward()
        middle = self._mark()
        if work.backward is not None:
            work.backward(state)
        end = self._mark()
        if self._flush is None:
            return 1e3 * (middle - start), 1e3 * (end - start)
        end.synchronize()
        return start.elapsed_time(middle), start.elapsed_time(end)

    def _mark(self) -> Any:
        if self._flush is None:
            return self._now()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def workspace(self, work: Work) -> float | None:
        """Highest memory in use during one repetition beyond inputs, statistics and gradients, in MiB; None on a CPU,
        where `footprint` measures it in another process."""
        if self._flush is None:
            return None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        kept = bytes_of(work.run())
        torch.cuda.synchronize()
        return max(0, torch.cuda.max_memory_allocated() - before - kept) / MIB
