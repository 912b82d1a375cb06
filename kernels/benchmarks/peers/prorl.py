"""This package: fused and chunked; the latter also with all logits kept for the backward pass, and in small tiles."""

from __future__ import annotations

from functools import partial

from prorl_kernels.benchmarks.cases import Mode
from prorl_kernels.benchmarks.problem import Problem
from prorl_kernels.benchmarks.provider import Compute, Outputs, Provider
from prorl_kernels.linear_token_stats import linear_token_stats

L2_TILES = 64 << 20  # bytes: a tile in fp32 and its gradient stay in the 50 MB of a Hopper GPU's L2 cache


def _compute(problem: Problem, mode: Mode, *, implementation: str, caches: bool, chunk_bytes: int | None) -> Outputs:
    reference = 2 if mode.has_reference else 1
    stats = linear_token_stats(
        problem.hidden,
        problem.weight,
        problem.targets,
        ref_hidden=problem.ref_hidden,
        ref_weight=problem.ref_weight,
        implementation=implementation,
        # 2 bytes per logit and 4 per row and tile of at least 256 columns
        cache_bytes=int(2.1 * reference * len(problem.hidden) * len(problem.weight)) if caches else 0,
        chunk_bytes=chunk_bytes,
    )
    return Outputs(logprob=stats.logprob, entropy=stats.entropy, kl_reverse=stats.kl_reverse)


def _load(implementation: str, caches: bool, chunk_bytes: int | None) -> Compute:
    if implementation == "fused":
        import triton  # noqa: F401
    return partial(_compute, implementation=implementation, caches=caches, chunk_bytes=chunk_bytes)


PROVIDERS = [
    Provider(
        name=f"prorl {name}",
        load=partial(_load, implementation, caches, chunk_bytes),
        differentiates=("logprob", "entropy", "kl_reverse"),
        recomputes=not caches,
        package="prorl_mega",
        computes="logprob + entropy + KL",
        needs=needs,
    )
    for name, implementation, caches, chunk_bytes, needs in (
        ("fused", "fused", False, None, "Hopper"),
        ("chunked", "chunked", False, None, ""),
        ("chunked, small tiles", "chunked", False, L2_TILES, "Hopper"),
        ("chunked, cached", "chunked", True, None, ""),
    )
]
