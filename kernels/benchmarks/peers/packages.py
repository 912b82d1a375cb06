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


LIGER, CUT = "liger-kernel", "cut-cross-entropy"
BOTH = ("logprob", "entropy")
MEAN: dict[str, Any] = {"recomputes": False, "per_token": False}
ROUNDED = "logits rounded to bf16"
EARLY = "gradients are made in the forward pass"
FILTERED = "leaves out small gradients, so it executes fewer operations than stated"
LOCKED = "gradients added up in bf16 under locks"
STAGED = "logits staged in fp16; d_weight is added up in bf16"
ADDED = "d_hidden added up in bf16; always computes entropy and d_weight"
CUTE: dict[str, Any] = {"differentiates": BOTH, "computes": "logprob (+ entropy when differentiated)"}
TILES = {"columns": 256, "tokens": 128}

PROVIDERS = [
    Provider("Liger Triton, per token", _liger_triton, LIGER, ROUNDED, needs="CUDA"),
    Provider("Liger Triton, mean", _liger_triton_mean, LIGER, f"{ROUNDED}; {EARLY}", needs="CUDA", **MEAN),
    Provider(
        "Liger CuTe, mean", _liger_cute_mean, LIGER, "keeps all logits in bf16", needs="Hopper", multiples=TILES, **MEAN
    ),
    Provider("Liger CuTe, per token", _liger_cute, LIGER, STAGED, needs="Hopper", **CUTE),
    Provider("cut-cross-entropy", lambda: _cut_cross_entropy("auto"), CUT, FILTERED, needs="CUDA"),
    Provider("cut-cross-entropy, exact", lambda: _cut_cross_entropy(None), CUT, LOCKED, needs="CUDA"),
    Provider("QuACK", _quack, "quack-kernels", EARLY, needs="CUDA", multiples={"columns": 8}, **MEAN),
    Provider("verl Triton", _verl, "verl", ADDED, differentiates=BOTH, needs="CUDA", multiples={"width": 128}),
    Provider("TRL chunked", _trl, "trl", ROUNDED, differentiates=BOTH, needs="CUDA"),
]
