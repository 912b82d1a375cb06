"""verl's Triton kernel. Its package imports Ray; without Ray the kernel's folder is imported on its own."""

from __future__ import annotations

from importlib import import_module

import torch

from prorl_kernels.benchmarks.cases import Case, Mode
from prorl_kernels.benchmarks.peers.parents import replace_parents
from prorl_kernels.benchmarks.problem import Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider, first_reason, needs_cuda

KERNEL = "verl.utils.kernel.linear_cross_entropy"


def _load() -> Compute:
    try:
        module = import_module(KERNEL)
    except ImportError:
        replace_parents("verl", "verl.utils")
        module = import_module(KERNEL)
        import_module("verl.utils.kernel.kernels")  # imported by the first call otherwise

    def compute(problem: Problem, mode: Mode) -> Outputs:
        logprob, entropy = module.linear_cross_entropy(problem.hidden, problem.weight, problem.targets, 1.0, "none")
        return Outputs(logprob=logprob, entropy=entropy)

    return compute


def _aligned(case: Case, device: torch.device) -> str | None:
    return f"needs a multiple of 128 as width; {case.model.width} is not" if case.model.width % 128 else None


PROVIDERS = [
    Provider(
        name="verl Triton",
        load=_load,
        package="verl",
        differentiates=frozenset({"logprob", "entropy"}),
        recomputes=True,
        why_not=first_reason(needs_cuda, _aligned),
        remark="d_hidden added up in bf16; always computes entropy and d_weight",
    )
]
