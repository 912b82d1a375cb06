"""Host side of the fused path: logits are made tile by tile in registers and never written.

`fused_statistics` does 2 N d V FLOP (N tokens, V columns) and writes 16 bytes (36 with a reference) per token and
segment of at most 6 tiles; `fused_logits_gradient` recomputes the logits and writes their gradient, 2 bytes each.
Both read `weight` once per GROUP row blocks (2,048 tokens) from memory and otherwise from the L2 cache.

Tiles, segments and the order of every sum depend on the vocabulary alone, so a token's results do not depend on the
other tokens, on the number of multiprocessors or on the run: the bits are the same. Nothing waits for the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from prorl_kernels.linear_token_stats.problem import Projection
from prorl_kernels.linear_token_stats.triton.fused_gradient import fused_gradient_kernel
from prorl_kernels.linear_token_stats.triton.fused_statistics import (
    fused_statistics_kernel,
    fused_statistics_with_reference_kernel,
    merge_kernel,
)
from prorl_kernels.linear_token_stats.triton.math import LAUNCH_OPTIONS, LOWEST, on_device_of

MAX_SEGMENT_TILES = 6
MERGED_ROWS = 32  # per program: one 128-byte line of every number of a segment
INTERPRETED_PROGRAMS = 3  # fewer than the tiles of most tests, so that the persistent loops are exercised


@dataclass(kw_only=True, slots=True, frozen=True)
class TileShape:
    """A kernel's tile, chosen ahead of time by registers, spills and shared memory; equal for all numbers of tokens."""

    rows: int
    columns: int
    depth: int  # how much of d one step of the product takes
    stages: int  # steps in flight
    warps: int
    group: int  # row blocks that share the columns in the L2 cache


POLICY_TILE = TileShape(rows=128, columns=256, depth=64, stages=4, warps=8, group=16)
PAIR_TILE = TileShape(rows=128, columns=128, depth=64, stages=3, warps=8, group=16)  # two accumulators


def why_not_fused(
    hidden: Tensor, weight: Tensor, ref_hidden: Tensor | None = None, ref_weight: Tensor | None = None
) -> str | None:
    """The reason why these tensors cannot take the fused path, or None if they can."""
    pairs = [("hidden", hidden, "weight", weight)]
    if ref_hidden is not None and ref_weight is not None:
        pairs.append(("ref_hidden", ref_hidden, "ref_weight", ref_weight))
    for inputs_name, inputs, projection_name, projection in pairs:
        if inputs.dtype != projection.dtype or inputs.dtype not in (torch.bfloat16, torch.float16):
            return (
                f"{inputs_name} and {projection_name} must both be bfloat16 or both float16; "
                f"got {inputs.dtype} and {projection.dtype}"
            )
        if inputs.shape[1] == 0 or inputs.shape[1] % 8:
            return f"the width of {inputs_name} {list(inputs.shape)} must be a positive multiple of 8 (16 bytes)"
    if hidden.is_cuda:
        capability = torch.cuda.get_device_capability(hidden.device)
        return None if capability[0] == 9 else f"it is compiled for compute capability 9.0; this GPU has {capability}"
    return None if triton.knobs.runtime.interpret else f"it needs a GPU; the tensors are on {hidden.device}"


def fused_statistics(problem: Projection) -> Tensor:
    """Statistics of all columns of one shard, straight from hidden states.

    `problem` has bf16 or fp16 matrices whose widths are multiples of 8 (copied if not contiguous), targets that are
    int32 or int64, outside of `[0, columns)` where they are on another shard, and fp32 inverse temperatures.

    Returns:
        fp32 `[4, tokens]`, or `[9, tokens]` with a reference, as `tile_statistics` does.

    Raises:
        ValueError: dtype, width or device that this path does not take (`why_not_fused`).
    """
    _check(problem)
    hidden, targets, inverse_temperature = problem.hidden, problem.targets, problem.inverse_temperature
    tokens, valid_cols = len(hidden), len(problem.weight)
    numbers, shape = (4, POLICY_TILE) if problem.ref_hidden is None else (9, PAIR_TILE)
    statistics = torch.empty(numbers, tokens, dtype=torch.float32, device=hidden.device)
    if tokens == 0 or valid_cols == 0:
        return _empty_statistics(statistics)
    tiles = triton.cdiv(valid_cols, shape.columns)
    segment_tiles = _segment_tiles(tiles)
    segments = triton.cdiv(tiles, segment_tiles)
    row_blocks = triton.cdiv(tokens, shape.rows)
    partials = torch.empty(segments, numbers, tokens, dtype=torch.float32, device=hidden.device)
    rows = (targets, targets if inverse_temperature is None else inverse_temperature, partials, tokens, valid_cols)
    tail = (1.0 if problem.softcap is None else problem.softcap, row_blocks, segments, segment_tiles)
    kernel = fused_statistics_kernel if numbers == 4 else fused_statistics_with_reference_kernel
    matrices, widths = _matrices(problem, shape)
    with on_device_of(hidden):
        kernel[(min(_programs(hidden), row_blocks * segments),)](
            *matrices, *rows, *widths, *tail, **_constants(problem, shape)
        )
        _merge(partials, statistics)
    return statistics


def _merge(partials: Tensor, statistics: Tensor) -> None:
    """Fill `statistics` `[numbers, tokens]` from `partials` `[segments, numbers, tokens]`, in the order of segments."""
    segments, numbers, tokens = partials.shape
    merge_kernel[(triton.cdiv(tokens, MERGED_ROWS),)](
        partials,
        statistics,
        tokens,
        segments,
        HAS_REFERENCE=numbers == 9,
        ROWS=MERGED_ROWS,
        SEGMENTS=64,
        **LAUNCH_OPTIONS,
    )


def fused_logits_gradient(problem: Projection, scalars: Tensor, first_col: int, out: Tensor) -> Tensor:
    """Recomputes the logits of some columns, and writes and returns their gradient dL/d logits.

    `problem` and the errors are those of `fused_statistics`.

    Args:
        scalars: fp32 `[5, tokens]` or `[10, tokens]`, as in `tile_gradient`.
        first_col: of the shard, where `out` begins.
        out: `[tokens, cols]`, any floating dtype, contiguous within a row: fastest with rows that begin at multiples of
            16 bytes. Columns `[first_col, first_col + cols)`; those beyond the shard become 0.
    """
    _check(problem)
    hidden, targets, valid_cols = problem.hidden, problem.targets, len(problem.weight)
    shape = POLICY_TILE if problem.ref_hidden is None else PAIR_TILE
    _check_gradient(len(hidden), 5 if problem.ref_hidden is None else 10, scalars, first_col, out)
    tokens, cols = out.shape
    if not out.numel() or first_col >= valid_cols:
        return out.zero_()
    row_blocks, column_blocks = triton.cdiv(tokens, shape.rows), triton.cdiv(cols, shape.columns)
    matrices, widths = _matrices(problem, shape)
    if problem.ref_hidden is None:
        matrices, widths = matrices * 2, widths * 2  # not read
    with on_device_of(hidden):
        fused_gradient_kernel[(min(_programs(hidden), row_blocks * column_blocks),)](
            *matrices,
            targets,
            targets if problem.inverse_temperature is None else problem.inverse_temperature,
            scalars,
            out,
            tokens,
            first_col,
            cols,
            valid_cols,
            *widths,
            out.stride(0),
            1.0 if problem.softcap is None else problem.softcap,
            row_blocks,
            column_blocks,
            HAS_REFERENCE=problem.ref_hidden is not None,
            **_constants(problem, shape),
        )
    return out


def statistics_workspace_bytes(tokens: int, valid_cols: int, has_reference: bool) -> int:
    """Bytes that `fused_statistics` allocates besides its result, when no input has to be copied."""
    shape = PAIR_TILE if has_reference else POLICY_TILE
    tiles = triton.cdiv(valid_cols, shape.columns)
    return triton.cdiv(tiles, _segment_tiles(tiles)) * (9 if has_reference else 4) * 4 * tokens


def _segment_tiles(tiles: int) -> int:
    """Tiles per segment: a function of the vocabulary alone, with few empty tiles in the last segment."""
    if tiles <= MAX_SEGMENT_TILES:
        return max(1, tiles)
    return min(range(MAX_SEGMENT_TILES, 2, -1), key=lambda size: -tiles % size)


def _empty_statistics(statistics: Tensor) -> Tensor:
    statistics.zero_()
    statistics[0] = LOWEST.value
    statistics[3] = -torch.inf
    if len(statistics) == 9:
        statistics[4] = LOWEST.value
        statistics[6] = -torch.inf
    return statistics


def _programs(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return INTERPRETED_PROGRAMS
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _matrices(problem: Projection, shape: TileShape) -> tuple[tuple[TensorDescriptor, ...], tuple[int, ...]]:
    """hidden, weight and, with a reference, ref_hidden and ref_weight, as kernels take them; and their widths."""
    pairs = [(problem.hidden, problem.weight)]
    if problem.ref_hidden is not None and problem.ref_weight is not None:
        pairs.append((problem.ref_hidden, problem.ref_weight))
    descriptors = (
        TensorDescriptor.from_tensor(_tma_compatible(matrix), [rows, shape.depth])
        for pair in pairs
        for matrix, rows in zip(pair, (shape.rows, shape.columns), strict=True)
    )
    return tuple(descriptors), tuple(hidden.shape[1] for hidden, _ in pairs)


def _constants(problem: Projection, shape: TileShape) -> dict[str, Any]:
    """Keyword arguments of a kernel launch."""
    return {
        "HAS_TEMPERATURE": problem.inverse_temperature is not None,
        "HAS_SOFTCAP": problem.softcap is not None,
        "ROWS": shape.rows,
        "COLUMNS": shape.columns,
        "BLOCK_D": shape.depth,
        "GROUP": shape.group,
        "num_warps": shape.warps,
        "num_stages": shape.stages,
        **LAUNCH_OPTIONS,
    }


def _tma_compatible(matrix: Tensor) -> Tensor:
    """`matrix` with contiguous rows that begin at multiples of 16 bytes, which the copy engine needs."""
    if triton.knobs.runtime.interpret:
        matrix = matrix.float()  # exact; the interpreter multiplies bf16 as if its bits were integers
    aligned = matrix.data_ptr() % 16 == 0 and matrix.stride(0) * matrix.element_size() % 16 == 0
    return matrix if aligned and matrix.stride(1) == 1 else matrix.clone(memory_format=torch.contiguous_format)


def _check(problem: Projection) -> None:
    hidden, weight, scale = problem.hidden, problem.weight, problem.inverse_temperature
    ref_hidden, ref_weight = problem.ref_hidden, problem.ref_weight
    reason = why_not_fused(hidden, weight, ref_hidden, ref_weight)
    if reason is not None:
        raise ValueError(f"implementation='fused' does not take these tensors: {reason}")
    assert hidden.shape[1] == weight.shape[1]
    assert problem.targets.shape == (len(hidden),)
    assert problem.targets.is_contiguous()
    assert (ref_hidden is None) == (ref_weight is None)
    if ref_hidden is not None and ref_weight is not None:
        assert len(ref_hidden) == len(hidden)
        assert ref_weight.shape == (len(weight), ref_hidden.shape[1])
    if scale is not None:
        assert scale.shape == (len(hidden),)
        assert scale.dtype == torch.float32
        assert scale.is_contiguous()


def _check_gradient(tokens: int, numbers: int, scalars: Tensor, first_col: int, out: Tensor) -> None:
    assert first_col >= 0, f"first_col={first_col}"
    assert len(out) == tokens, f"out {list(out.shape)} of {tokens} tokens"
    assert out.shape[1] == 0 or out.stride(1) == 1, f"columns of out must be contiguous, strides are {out.stride()}"
    assert scalars.shape == (numbers, tokens), f"expected [{numbers}, {tokens}], got {list(scalars.shape)}"
    assert scalars.is_contiguous()
