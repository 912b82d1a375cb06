"""Logits kept from forward to backward, so that backward need not compute them again.

Within `cache_bytes` the first rows are kept as 16-bit fixed-point numbers: s − m, where m is the maximum of the row in
its column tile, in steps of 1/512 nat, down to 128 nats. log p is off by at most 2⁻¹⁰ and p by 0.1 %, whatever the size
of the logits (bf16 logits near 20 would be off by 6 % in p, bf16 probabilities by 0.2 %). Only gradients are affected.

Logits that fit into `cache_bytes` as they are, or into a single tile, are kept unrounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats import fixed_point
from prorl_kernels.linear_token_stats.problem import TiledProblem


@dataclass(kw_only=True, slots=True, frozen=True)
class CachedLogits:
    """Logits of the first rows of a problem, of the policy or of the reference."""

    logits: Tensor  # [rows, columns], raw logits or int16 fixed-point numbers
    row_max: Tensor | None  # [column tiles, rows], what the fixed-point numbers count from; None for raw logits

    def store(self, logits: Tensor, problem: TiledProblem, rows: slice, columns: slice) -> None:
        """Keep one tile of raw logits."""
        block = self.logits[rows, columns]
        if self.row_max is None:
            block.copy_(logits)
        else:
            row_max = self.row_max[columns.start // problem.tile_columns, rows]
            _codec(logits).quantize(logits, problem.inverse_temperature_of(rows), problem.softcap, block, row_max)

    def load(self, problem: TiledProblem, rows: slice, columns: slice, index: Tensor | None) -> Tensor:
        """One tile of raw logits: of the rows `index[rows]` as they were numbered when stored, None for the same."""
        block = self.logits[:, columns]
        row_max = None if self.row_max is None else self.row_max[columns.start // problem.tile_columns]
        if index is None:
            block, row_max = block[rows], None if row_max is None else row_max[rows]
        else:
            block, row_max = block[index[rows]], None if row_max is None else row_max[index[rows]]
        if row_max is None:
            return block.clone() if index is None else block
        return _codec(block).dequantize(block, row_max, problem.inverse_temperature_of(rows), problem.softcap)


def _codec(tensor: Tensor) -> ModuleType:
    if not tensor.is_cuda:
        return fixed_point
    # Triton is not needed on a CPU.
    from prorl_kernels.linear_token_stats.triton import fixed_point as triton_fixed_point

    return triton_fixed_point


@dataclass(kw_only=True, slots=True, frozen=True)
class Cache:
    rows: int  # how many of the first rows are kept
    policy: CachedLogits | None
    reference: CachedLogits | None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The four tensors for autograd to save."""
        sides = (self.policy, self.reference)
        return tuple(each for side in sides for each in ((None, None) if side is None else (side.logits, side.row_max)))

    @classmethod
    def of_tensors(cls, tensors: list[Tensor | None]) -> Cache:
        logits, row_max, ref_logits, ref_row_max = tensors
        if logits is None:
            return EMPTY_CACHE
        reference = None if ref_logits is None else CachedLogits(logits=ref_logits, row_max=ref_row_max)
        return cls(rows=len(logits), policy=CachedLogits(logits=logits, row_max=row_max), reference=reference)


EMPTY_CACHE = Cache(rows=0, policy=None, reference=None)


def new_cache(problem: TiledProblem, cache_bytes: int) -> Cache:
    """An empty cache for as many rows as the budget allows."""
    rows, columns = len(problem.hidden), len(problem.weight)
    sides = 1 if problem.ref_weight is None else 2
    exact = problem.is_one_tile or sides * rows * columns * problem.dtype.itemsize <= cache_bytes
    tiles = -(-columns // problem.tile_columns)
    if not exact:
        rows = min(rows, cache_bytes // (sides * (2 * columns + tiles * problem.dtype.itemsize)))
    if not rows or not columns:
        return EMPTY_CACHE

    def side() -> CachedLogits:
        logits = problem.hidden.new_empty(rows, columns, dtype=problem.dtype if exact else torch.int16)
        return CachedLogits(
            logits=logits, row_max=None if exact else logits.new_empty(tiles, rows, dtype=problem.dtype)
        )

    return Cache(rows=rows, policy=side(), reference=side() if sides == 2 else None)
