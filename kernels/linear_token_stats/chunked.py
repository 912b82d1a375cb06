"""The implementation by tiles of `[rows, columns]`: a matrix product, then one pass over the tile by torch or Triton.

Both passes go over columns outside and rows inside, so that the weight and its gradient are read and written once.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats import tiles as torch_tiles
from prorl_kernels.linear_token_stats.cache import Cache
from prorl_kernels.linear_token_stats.matmul import matmul
from prorl_kernels.linear_token_stats.problem import TiledProblem, TileSize
from prorl_kernels.linear_token_stats.rows import Active
from prorl_kernels.linear_token_stats.stats import PLAIN, WITH_REFERENCE, empty_statistics, merge

keeps_logits = True


def tile_operations(device: torch.device, dtype: torch.dtype) -> ModuleType:
    """The operations of Triton on a GPU, of torch elsewhere and for fp64."""
    if device.type != "cuda" or dtype != torch.float32:
        return torch_tiles
    from prorl_kernels.linear_token_stats.triton import tiles as triton_tiles  # Triton is not needed on a CPU

    return triton_tiles


def tile_size(*, dtype: torch.dtype, has_reference: bool, has_softcap: bool) -> TileSize:
    """Tiles wide enough for matrix products at full speed. torch needs as many tensors as this, Triton fewer."""
    tensors = (4 if has_reference else 2) + has_softcap
    return TileSize(columns=4096, bytes_per_logit=tensors * dtype.itemsize)


def statistics(problem: TiledProblem, cache: Cache) -> Tensor:
    """`[4, rows]`, with a reference `[9, rows]`, of all columns of this rank; fills in the cache."""
    operations = tile_operations(problem.hidden.device, problem.dtype)
    count = PLAIN if problem.ref_weight is None else WITH_REFERENCE
    total = empty_statistics(len(problem.hidden), rows=count, dtype=problem.dtype, device=problem.hidden.device)
    for columns in problem.columns():
        weight = problem.weight[columns].to(problem.operand)
        ref_weight = None if problem.ref_weight is None else problem.ref_weight[columns].to(problem.ref_operand)
        for rows in problem.rows(cache.rows):
            inputs, invariant = problem.hidden[rows].to(problem.operand), problem.batch_invariant
            logits = matmul(inputs, weight.t(), problem.dtype, batch_invariant=invariant)
            ref_logits = _ref_logits(problem, rows, ref_weight)
            if rows.stop <= cache.rows:
                for side, tile in ((cache.policy, logits), (cache.reference, ref_logits)):
                    if side is not None and tile is not None:
                        side.store(tile, problem, rows, columns)
            tile = operations.tile_statistics(
                logits,
                problem.targets[rows] - columns.start,
                problem.inverse_temperature_of(rows),
                problem.softcap,
                ref_logits,
                logits.shape[1],
            )
            del logits, ref_logits  # before the next ones are made
            total[:, rows] = tile if columns.start == 0 else merge(total[:, rows], tile)
        del weight, ref_weight
    return total


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
    """dz of one tile in the operands' dtype. `inputs` are its rows of hidden, `weight` its columns, as operands.

    Rows before `active.cached` come from the cache, where they have the numbers `active.index` (None: the same).
    """
    operations = tile_operations(problem.hidden.device, problem.dtype)
    if rows.stop <= active.cached:
        assert cache.policy is not None
        logits, ref_logits = cache.policy.load(problem, rows, columns, active.index), None
        if ref_weight is not None:
            assert cache.reference is not None
            ref_logits = cache.reference.load(problem, rows, columns, active.index)
    else:
        logits = matmul(inputs, weight.t(), problem.dtype)
        ref_logits = _ref_logits(problem, rows, ref_weight)
    return operations.tile_gradient(
        logits,
        problem.targets[rows] - columns.start,
        problem.inverse_temperature_of(rows),
        problem.softcap,
        ref_logits,
        logits.shape[1],
        active.scalars[:, rows].contiguous(),
        logits if problem.operand == logits.dtype else torch.empty_like(logits, dtype=problem.operand),
    )


def _ref_logits(problem: TiledProblem, rows: slice, ref_weight: Tensor | None) -> Tensor | None:
    if ref_weight is None:
        return None
    assert problem.ref_hidden is not None
    return matmul(problem.ref_hidden[rows].to(ref_weight.dtype), ref_weight.t(), problem.dtype)
