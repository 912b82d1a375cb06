"""TRL's chunked log-probs: tiles by cuBLAS in the inputs' dtype, folded by Triton.

The kernel's file asks transformers whether Triton is there, and its backward pass asks TRL's trainer, with all that
this imports, for a context that gathers the weight under DeepSpeed. Where they cannot be imported, stand-ins answer.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

from prorl_kernels.benchmarks.cases import Mode
from prorl_kernels.benchmarks.peers.parents import replace_parents
from prorl_kernels.benchmarks.problem import Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider, needs_cuda

COLUMNS = 32768  # per tile, as its trainer has it


KERNEL = "trl.kernels.chunked_logprob"


def _load() -> Compute:
    try:
        import_module("trl.trainer.utils")  # imported by the first backward pass otherwise
        module = import_module(KERNEL)
    except ImportError:
        module = _alone()
    function = module.ChunkedLogProbFunction

    def compute(problem: Problem, mode: Mode) -> Outputs:
        logprob, entropy, *_ = function.apply(
            problem.hidden, problem.weight, None, problem.targets, 1.0, COLUMNS, None, 1.0, ("entropy",)
        )
        return Outputs(logprob=logprob, entropy=entropy)

    return compute


def _alone() -> Any:
    """The kernel's module without TRL's other parts and without transformers."""
    if KERNEL in sys.modules:
        return sys.modules[KERNEL]
    for name in [name for name in sys.modules if name.split(".")[0] == "trl"]:  # what was imported before it failed
        del sys.modules[name]
    replace_parents("trl", "trl.kernels")
    trainer, gathers, transformers, asked = map(
        ModuleType, ("trl.trainer", "trl.trainer.utils", "transformers", "transformers.utils")
    )
    trainer.__path__, transformers.__path__ = [], []
    vars(gathers)["maybe_gather_lm_head_ctx"] = lambda *parameters: nullcontext()
    vars(asked)["is_triton_available"] = lambda: True
    there = {name: sys.modules.get(name) for name in ("transformers", "transformers.utils")}
    sys.modules |= {module.__name__: module for module in (trainer, gathers, transformers, asked)}
    try:
        return import_module(KERNEL)
    finally:  # others must find out for themselves that transformers is missing
        for name, module in there.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


PROVIDERS = [
    Provider(
        name="TRL chunked",
        load=_load,
        package="trl",
        differentiates=frozenset({"logprob", "entropy"}),
        recomputes=True,
        why_not=needs_cuda,
        remark="logits rounded to bf16",
    )
]
