"""Triton kernels that make logits in registers: no logits in memory, and their 16-bit gradient only."""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.cache import Cache
from prorl_kernels.linear_token_stats.problem import TiledProblem, TileSize
from prorl_kernels.linear_token_stats.rows import Active
from prorl_kernels.linear_token_stats.triton.fused import fused_logits_gradient, fused_statistics

keeps_logits = False


def tile_size(*, dtype: torch.dtype, has_reference: bool, has_softcap: bool) -> TileSize:
    """Tiles of the logits' gradient, the only output. Wide, since d_hidden is read and written once per tile."""
    return TileSize(columns=16384, bytes_per_logit=2)


def statistics(problem: TiledProblem, cache: Cache) -> Tensor:
    """`[4, rows]`, with a reference `[9, rows]`, of all columns of this rank."""
    return fused_statistics(problem)


def logits_gradient(
    problem: TiledProblem,
    rows: slice,
    columns: slice,
    inputs: Tensor,
    weight: Tensor,
    ref_weight: Tensor | None,
    active: Active,
    cache: Cache,
) -> Tensor:
    """dz of one tile in the operands' dtype."""
    out = weight.new_empty(rows.stop - rows.start, columns.stop - columns.start, dtype=problem.operand)
    tile = problem.of_rows(lambda tensor: tensor[rows])
    return fused_logits_gradient(tile, active.scalars[:, rows].contiguous(), columns.start, out)
