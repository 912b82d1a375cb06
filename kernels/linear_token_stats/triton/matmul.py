# mypy: allow-untyped-defs
# (device functions take what Triton passes)
"""Tiles of hidden · weightᵀ in registers: which program takes which tile, and the loop over d.

The loop over tiles and the loop over d are nested, not flattened into one: in the flattened form the accumulator is
reset between wgmma instructions, and ptxas then waits for every one of them (its advisories C7514 and C7515). What
follows a product must read the whole accumulator before it branches: Triton 3.6 to 3.9 put the wait for wgmma at the
first use, and a first use in one branch leaves the other without.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_of_item(item, row_blocks, columns, GROUP: tl.constexpr):
    """Row block and column of a work item. Items that run at once share GROUP row blocks and few columns, for L2."""
    group = item // (GROUP * columns)
    height = min(row_blocks - group * GROUP, GROUP)
    within = item % (GROUP * columns)
    return group * GROUP + within % height, within // height


@triton.jit
def matmul(hidden, weight, row, column, start, stop, accumulator, BLOCK_D: tl.constexpr):
    """accumulator + hidden[row:, start:stop] · weight[column:, start:stop]ᵀ; what is out of bounds counts as zero."""
    for d in range(start, stop, BLOCK_D):
        left = hidden.load([row, d])
        right = weight.load([column, d])
        accumulator = tl.dot(left, right.T, accumulator)
    return accumulator


@triton.jit
def matmul_pair(
    hidden,
    weight,
    ref_hidden,
    ref_weight,
    row,
    column,
    width,
    ref_width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Both products, in one loop up to the smaller width."""
    logits = tl.zeros((ROWS, COLUMNS), tl.float32)
    ref_logits = tl.zeros((ROWS, COLUMNS), tl.float32)
    shared = min(width, ref_width) // BLOCK_D * BLOCK_D
    for d in range(0, shared, BLOCK_D):
        left = hidden.load([row, d])
        right = weight.load([column, d])
        logits = tl.dot(left, right.T, logits)
        ref_left = ref_hidden.load([row, d])
        ref_right = ref_weight.load([column, d])
        ref_logits = tl.dot(ref_left, ref_right.T, ref_logits)
    logits = matmul(hidden, weight, row, column, shared, width, logits, BLOCK_D)
    ref_logits = matmul(ref_hidden, ref_weight, row, column, shared, ref_width, ref_logits, BLOCK_D)
    return logits, ref_logits
