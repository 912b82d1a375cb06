"""This package: fused and chunked; the latter also with all logits kept for the backward pass, and in small tiles."""

from __future__ import annotations

from functools import partial

from prorl_kernels.benchmarks.cases import Mode
from prorl_kernels.benchmarks.problem import Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider
from prorl_kernels.linear_token_stats import linear_token_stats

L2_TILES = 64 << 20  # bytes: a tile in fp32 and its gradient stay in the 50 MB of a Hopper GPU's L2 cache


def _load(implementation: str, caches: bool, chunk_bytes: int | None) -> Compute:
    if implementation == "fused":
        import triton  # noqa: F401

    def compute(it: Problem, mode: Mode) -> Outputs:
        logits = len(it.hidden) * len(it.weight) * (2 if mode.has_reference else 1)
        stats = linear_token_stats(
            *(it.hidden, it.weight, it.targets),
            ref_hidden=it.ref_hidden,
            ref_weight=it.ref_weight,
            implementation=implementation,
            cache_bytes=int(2.1 * logits) if caches else 0,  # 2 per logit; 4 per row and tile of at least 256 columns
            chunk_bytes=chunk_bytes,
        )
        return Outputs(stats.logprob, stats.entropy, stats.kl_reverse)

    return compute


PROVIDERS = [
    Provider(
        f"prorl {name}",
        partial(_load, name.split(",")[0], caches, chunk_bytes),
        "prorl_mega",
        differentiates=("logprob", "entropy", "kl_reverse"),
        recomputes=not caches,
        needs=needs,
    )
    for name, caches, chunk_bytes, needs in (
        ("fused", False, None, "Hopper"),
        ("chunked", False, None, ""),
        ("chunked, small tiles", False, L2_TILES, "Hopper"),
        ("chunked, cached", True, None, ""),
    )
]
