"""Peers from other packages: Liger, Apple's cut cross-entropy, QuACK, verl and TRL."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prorl_kernels.benchmarks.peers.isolated import trl_kernel, verl_kernel
from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider

TRL_COLUMNS = 32768  # per tile, as TRL's trainer has it


def _liger(module: str, name: str) -> Any:
    return getattr(import_module(f"liger_kernel.ops.{module}"), name)


def _liger_triton() -> Compute:
    function = _liger("fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction")
    options = (None, None, -100, 0.0, 0.0, "none")
    return lambda it, mode: Outputs(logprob=-function.apply(it.hidden, it.weight, it.targets, *options)[0])


def _liger_triton_mean() -> Compute:
    function = _liger("fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction")
    return lambda it, mode: Outputs(mean_logprob=-function.apply(it.hidden, it.weight, it.targets)[0])


def _liger_cute_mean() -> Compute:
    function = _liger("cutedsl.ops.fused_linear_cross_entropy_sm90", "liger_fused_linear_cross_entropy_sm90")
    return lambda it, mode: Outputs(mean_logprob=-function(it.hidden, it.weight, it.targets))


def _liger_cute() -> Compute:
    function = _liger("cutedsl.ops.fused_scaled_cross_entropy_sm90", "LigerFusedScaledCrossEntropySM90Function")

    def compute(it: Any, mode: Any) -> Outputs:
        with_entropy = "entropy" in mode.gradients
        results = function.apply(it.hidden, it.weight, it.targets, 1.0, -100, 1, with_entropy)
        loss, entropy = results if with_entropy else (results, None)
        return Outputs(logprob=-loss, entropy=entropy)

    return compute


def _cut_cross_entropy(filter_eps: str | None) -> Compute:
    from cut_cross_entropy import linear_cross_entropy

    options = {"reduction": "none", "filter_eps": filter_eps, "impl": "cce"}
    return lambda it, mode: Outputs(logprob=-linear_cross_entropy(it.hidden, it.weight, it.targets, **options))


def _quack() -> Compute:
    from quack.linear_cross_entropy import chunked_linear_cross_entropy

    return lambda it, mode: Outputs(mean_logprob=-chunked_linear_cross_entropy(it.hidden, it.weight, it.targets))


def _verl() -> Compute:
    function = verl_kernel().linear_cross_entropy
    return lambda it, mode: Outputs(*function(it.hidden, it.weight, it.targets, 1.0, "none"))


def _trl() -> Compute:
    function = trl_kernel().ChunkedLogProbFunction
    options = (1.0, TRL_COLUMNS, None, 1.0, ("entropy",))
    return lambda it, mode: Outputs(*function.apply(it.hidden, it.weight, None, it.targets, *options)[:2])


LIGER: dict[str, Any] = {"package": "liger-kernel"}
CUT: dict[str, Any] = {"package": "cut-cross-entropy", "recomputes": True, "needs": "CUDA"}
MEAN: dict[str, Any] = {"recomputes": False, "per_token": False, "computes": "mean logprob"}
BOTH: dict[str, Any] = {"differentiates": ("logprob", "entropy"), "recomputes": True}
ROUNDED = "logits rounded to bf16"
EARLY = "gradients are made in the forward pass"

PROVIDERS = [
    Provider(
        name="Liger Triton, per token", load=_liger_triton, recomputes=True, needs="CUDA", remark=ROUNDED, **LIGER
    ),
    Provider(
        name="Liger Triton, mean", load=_liger_triton_mean, needs="CUDA", remark=f"{ROUNDED}; {EARLY}", **LIGER, **MEAN
    ),
    Provider(
        name="Liger CuTe, mean",
        load=_liger_cute_mean,
        needs="Hopper",
        multiples={"columns": 256, "tokens": 128},
        remark="keeps all logits in bf16",
        **LIGER,
        **MEAN,
    ),
    Provider(
        name="Liger CuTe, per token",
        load=_liger_cute,
        needs="Hopper",
        computes="logprob (+ entropy when differentiated)",
        remark="logits staged in fp16; d_weight is added up in bf16",
        **LIGER,
        **BOTH,
    ),
    Provider(
        name="cut-cross-entropy",
        load=lambda: _cut_cross_entropy("auto"),
        remark="leaves out small gradients, so it executes fewer operations than stated",
        **CUT,
    ),
    Provider(
        name="cut-cross-entropy, exact",
        load=lambda: _cut_cross_entropy(None),
        remark="gradients added up in bf16 under locks",
        **CUT,
    ),
    Provider(
        name="QuACK", load=_quack, package="quack-kernels", needs="CUDA", multiples={"columns": 8}, remark=EARLY, **MEAN
    ),
    Provider(
        name="verl Triton",
        load=_verl,
        package="verl",
        needs="CUDA",
        multiples={"width": 128},
        computes="logprob + entropy",
        remark="d_hidden added up in bf16; always computes entropy and d_weight",
        **BOTH,
    ),
    Provider(
        name="TRL chunked",
        load=_trl,
        package="trl",
        needs="CUDA",
        computes="logprob + entropy",
        remark=ROUNDED,
        **BOTH,
    ),
]
