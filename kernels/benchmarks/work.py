"""One repetition, in two halves: forward pass and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Mode
from prorl_kernels.benchmarks.problem import STATISTICS, Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs

MOST_LOGITS = 1 << 32  # up to this many the bare products make all logits at once, else in parts


@dataclass(kw_only=True, slots=True, frozen=True)
class Work:
    forward: Callable[[], Any]
    backward: Callable[[Any], tuple[Tensor, ...]] | None  # takes what forward returned; None when there is none

    def run(self) -> tuple[Any, tuple[Tensor, ...]]:
        """One repetition: what both passes return."""
        state = self.forward()
        return state, () if self.backward is None else self.backward(state)


def work_of(compute: Compute, problem: Problem, mode: Mode) -> Work:
    """The work of an implementation; forward returns `Outputs`, backward d_hidden and, unless the head is frozen, d_weight."""
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
    """Size of the tensors in (possibly nested) tuples."""
    if isinstance(results, Tensor):
        return results.numel() * results.element_size()
    return sum(bytes_of(each) for each in results if each is not None)
