# mypy: allow-untyped-defs
# (device functions take what Triton passes)
"""Device side of `fused_logits_gradient`: recomputed logits become their gradient on the way to memory."""

from __future__ import annotations

import triton
import triton.language as tl

from prorl_kernels.linear_token_stats.triton.math import (
    logits_gradient,
    logits_gradient_with_reference,
    scale_derivative,
    scaled,
)
from prorl_kernels.linear_token_stats.triton.matmul import matmul, matmul_pair, tile_of_item


@triton.jit
def split_columns(tile, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Left and right half of the columns; both stay in the registers where they are."""
    return tile.reshape(ROWS, 2, COLUMNS // 2).permute(0, 2, 1).split()


@triton.jit
def row_scalar(scalars, index: tl.constexpr, tokens, rows, row_mask):
    return tl.load(scalars + index * tokens.to(tl.int64) + rows, mask=row_mask, other=0.0)[:, None]


@triton.jit
def row_scalars(scalars, tokens, rows, row_mask):
    """The numbers per row that `logits_gradient` takes, in the order of its arguments."""
    return (
        row_scalar(scalars, 0, tokens, rows, row_mask),
        row_scalar(scalars, 1, tokens, rows, row_mask),
        row_scalar(scalars, 2, tokens, rows, row_mask),
        row_scalar(scalars, 3, tokens, rows, row_mask),
        row_scalar(scalars, 4, tokens, rows, row_mask),
    )


@triton.jit
def ref_row_scalars(scalars, tokens, rows, row_mask):
    """The numbers per row that `logits_gradient_with_reference` takes in addition."""
    return (
        row_scalar(scalars, 5, tokens, rows, row_mask),
        row_scalar(scalars, 6, tokens, rows, row_mask),
        row_scalar(scalars, 7, tokens, rows, row_mask),
        row_scalar(scalars, 8, tokens, rows, row_mask),
        row_scalar(scalars, 9, tokens, rows, row_mask),
    )


@triton.jit
def write_gradient(
    logits,
    ref_logits,
    column,
    rows,
    target,
    scale,
    per_row,
    out,
    tokens,
    first_col,
    cols,
    valid_cols,
    out_stride,
    softcap,
    HAS_REFERENCE: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradient of one part of a tile, from its logits [rows, COLUMNS] to memory; `column` counts in `out`."""
    local = column + tl.arange(0, COLUMNS)
    columns = first_col + local
    is_target = columns[None, :] == target[:, None]
    scores = scaled(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
    if HAS_REFERENCE:
        ref_scores = scaled(ref_logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
        gradient = logits_gradient_with_reference(scores, ref_scores, is_target, *per_row)
    else:
        gradient = logits_gradient(scores, is_target, *per_row)
    gradient = gradient * scale_derivative(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
    gradient = tl.where((columns < valid_cols)[None, :], gradient, 0.0)
    offsets = rows.to(tl.int64)[:, None] * out_stride + local[None, :]
    inside = (rows < tokens)[:, None] & (local < cols)[None, :]
    tl.store(out + offsets, gradient.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["tokens", "first_col", "row_blocks", "column_blocks"])
def fused_gradient_kernel(
    hidden,
    weight,
    ref_hidden,
    ref_weight,
    targets,
    inverse_temperature,
    scalars,
    out,
    tokens,
    first_col,
    cols,
    valid_cols,
    width,
    ref_width,
    out_stride,
    softcap,
    row_blocks,
    column_blocks,
    HAS_REFERENCE: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Writes `out` [tokens, cols]: dL/d logits of the columns [first_col, first_col + cols), 0 where padding.

    The numbers of a row are loaded before the product, which hides the latency. The epilogue takes the tile in
    quarters: its temporaries would not fit in the registers beside the accumulator.
    """
    QUARTER: tl.constexpr = COLUMNS // 4
    for item in range(tl.program_id(0), row_blocks * column_blocks, tl.num_programs(0)):
        row_block, column_block = tile_of_item(item, row_blocks, column_blocks, GROUP)
        row = row_block * ROWS
        column = column_block * COLUMNS
        rows = row + tl.arange(0, ROWS)
        row_mask = rows < tokens
        target = tl.load(targets + rows, mask=row_mask, other=-1).to(tl.int32)
        scale = 1.0
        if HAS_TEMPERATURE:
            scale = tl.load(inverse_temperature + rows, mask=row_mask, other=1.0)[:, None]
        per_row = row_scalars(scalars, tokens, rows, row_mask)
        if HAS_REFERENCE:
            per_row += ref_row_scalars(scalars, tokens, rows, row_mask)
            logits, ref_logits = matmul_pair(
                hidden,
                weight,
                ref_hidden,
                ref_weight,
                row,
                first_col + column,
                width,
                ref_width,
                ROWS,
                COLUMNS,
                BLOCK_D,
            )
        else:
            logits = tl.zeros((ROWS, COLUMNS), tl.float32)
            logits = matmul(hidden, weight, row, first_col + column, 0, width, logits, BLOCK_D)
            ref_logits = logits
        left, right = split_columns(logits, ROWS, COLUMNS)
        ref_left, ref_right = split_columns(ref_logits, ROWS, COLUMNS)
        parts = split_columns(left, ROWS, COLUMNS // 2) + split_columns(right, ROWS, COLUMNS // 2)
        ref_parts = split_columns(ref_left, ROWS, COLUMNS // 2) + split_columns(ref_right, ROWS, COLUMNS // 2)
        for part in tl.static_range(4):
            write_gradient(
                parts[part],
                ref_parts[part],
                column + part * QUARTER,
                rows,
                target,
                scale,
                per_row,
                out,
                tokens,
                first_col,
                cols,
                valid_cols,
                out_stride,
                softcap,
                HAS_REFERENCE,
                HAS_TEMPERATURE,
                HAS_SOFTCAP,
                QUARTER,
            )
