# mypy: allow-untyped-defs
# (device functions take what Triton passes)
"""Device side of `fused_statistics`: the product's epilogue keeps running statistics, a second kernel merges them."""

from __future__ import annotations

import triton
import triton.language as tl

from prorl_kernels.linear_token_stats.triton.math import LOWEST, bounded, exponential, scaled
from prorl_kernels.linear_token_stats.triton.matmul import product, product_pair, tile_place


@triton.jit
def masked_top(scores, column, valid_cols, COLUMNS: tl.constexpr):
    """Scores with −inf in the padding columns, and the maximum of each row, finite."""
    top = tl.max(scores, 1)  # before the branch: see matmul.py
    if column + COLUMNS > valid_cols:
        columns = column + tl.arange(0, COLUMNS)
        scores = tl.where(columns[None, :] < valid_cols, scores, float("-inf"))
        top = tl.max(scores, 1)
    return scores, tl.maximum(top, LOWEST)


@triton.jit
def picked(scores, column, targets, COLUMNS: tl.constexpr):
    """The score of each row's target, −inf where it is not among these columns."""
    columns = column + tl.arange(0, COLUMNS)
    return tl.max(tl.where(columns[None, :] == targets[:, None], scores, float("-inf")), 1)


@triton.jit
def any_target(targets, column, COLUMNS: tl.constexpr):
    """Whether a target of any row is among these columns: most tiles have none and skip the search."""
    return tl.max(((targets >= column) & (targets < column + COLUMNS)).to(tl.int32), 0) > 0


@triton.jit
def descent(top, scores, tile_top):
    """The joint maximum, by how much the old one and each score lie below it, and the factor for the old sums."""
    new_top = tl.maximum(top, tile_top)
    fall = bounded(top - new_top)
    return new_top, fall, exponential(fall), bounded(scores - new_top[:, None])


@triton.jit(do_not_specialize=["tokens", "row_blocks", "segments", "segment_tiles"])
def fused_statistics_kernel(
    hidden,
    weight,
    targets,
    inverse_temperature,
    partials,
    tokens,
    valid_cols,
    width,
    softcap,
    row_blocks,
    segments,
    segment_tiles,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Writes `partials` [segments, 4, tokens]: the statistics of every segment of `segment_tiles` tiles."""
    for item in range(tl.program_id(0), row_blocks * segments, tl.num_programs(0)):
        row_block, segment = tile_place(item, row_blocks, segments, GROUP)
        rows = row_block * ROWS + tl.arange(0, ROWS)
        own = rows < tokens
        target = tl.load(targets + rows, mask=own, other=-1).to(tl.int32)
        scale = 1.0
        if HAS_TEMPERATURE:
            scale = tl.load(inverse_temperature + rows, mask=own, other=1.0)[:, None]
        top = tl.full((ROWS,), LOWEST, tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        weighted = tl.zeros((ROWS,), tl.float32)
        score = tl.full((ROWS,), float("-inf"), tl.float32)
        for tile in range(segment * segment_tiles, (segment + 1) * segment_tiles):
            column = tile * COLUMNS
            logits = tl.zeros((ROWS, COLUMNS), tl.float32)
            logits = product(hidden, weight, row_block * ROWS, column, 0, width, logits, BLOCK_D)
            scores = scaled(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            scores, tile_top = masked_top(scores, column, valid_cols, COLUMNS)
            if any_target(target, column, COLUMNS):
                score = tl.maximum(score, picked(scores, column, target, COLUMNS))
            top, fall, keep, below = descent(top, scores, tile_top)
            mass = exponential(below)
            weighted = keep * (weighted + fall * total) + tl.sum(mass * below, 1)
            total = keep * total + tl.sum(mass, 1)
        stride = tokens.to(tl.int64)
        out = partials + segment * 4 * stride + rows
        tl.store(out, top, mask=own)
        tl.store(out + stride, total, mask=own)
        tl.store(out + 2 * stride, weighted, mask=own)
        tl.store(out + 3 * stride, score, mask=own)


@triton.jit(do_not_specialize=["tokens", "row_blocks", "segments", "segment_tiles"])
def fused_statistics_with_reference_kernel(
    hidden,
    weight,
    ref_hidden,
    ref_weight,
    targets,
    inverse_temperature,
    partials,
    tokens,
    valid_cols,
    width,
    ref_width,
    softcap,
    row_blocks,
    segments,
    segment_tiles,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
):
    """The same with a reference: `partials` [segments, 9, tokens]."""
    for item in range(tl.program_id(0), row_blocks * segments, tl.num_programs(0)):
        row_block, segment = tile_place(item, row_blocks, segments, GROUP)
        row = row_block * ROWS
        rows = row + tl.arange(0, ROWS)
        own = rows < tokens
        target = tl.load(targets + rows, mask=own, other=-1).to(tl.int32)
        scale = 1.0
        if HAS_TEMPERATURE:
            scale = tl.load(inverse_temperature + rows, mask=own, other=1.0)[:, None]
        top = tl.full((ROWS,), LOWEST, tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        weighted = tl.zeros((ROWS,), tl.float32)
        score = tl.full((ROWS,), float("-inf"), tl.float32)
        ref_top, ref_total, ref_score, cross, ref_cross = top, total, score, total, total
        for tile in range(segment * segment_tiles, (segment + 1) * segment_tiles):
            column = tile * COLUMNS
            logits, ref_logits = product_pair(
                hidden, weight, ref_hidden, ref_weight, row, column, width, ref_width, ROWS, COLUMNS, BLOCK_D
            )
            scores = scaled(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            ref_scores = scaled(ref_logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            scores, tile_top = masked_top(scores, column, valid_cols, COLUMNS)
            ref_scores, ref_tile_top = masked_top(ref_scores, column, valid_cols, COLUMNS)
            if any_target(target, column, COLUMNS):
                score = tl.maximum(score, picked(scores, column, target, COLUMNS))
                ref_score = tl.maximum(ref_score, picked(ref_scores, column, target, COLUMNS))
            top, fall, keep, below = descent(top, scores, tile_top)
            ref_top, ref_fall, ref_keep, ref_below = descent(ref_top, ref_scores, ref_tile_top)
            mass, ref_mass = exponential(below), exponential(ref_below)
            ratio = below - ref_below
            weighted = keep * (weighted + fall * total) + tl.sum(mass * below, 1)
            cross = keep * (cross + (fall - ref_fall) * total) + tl.sum(mass * ratio, 1)
            ref_cross = ref_keep * (ref_cross + (ref_fall - fall) * ref_total) - tl.sum(ref_mass * ratio, 1)
            total = keep * total + tl.sum(mass, 1)
            ref_total = ref_keep * ref_total + tl.sum(ref_mass, 1)
        stride = tokens.to(tl.int64)
        out = partials + segment * 9 * stride + rows
        tl.store(out, top, mask=own)
        tl.store(out + stride, total, mask=own)
        tl.store(out + 2 * stride, weighted, mask=own)
        tl.store(out + 3 * stride, score, mask=own)
        tl.store(out + 4 * stride, ref_top, mask=own)
        tl.store(out + 5 * stride, ref_total, mask=own)
        tl.store(out + 6 * stride, ref_score, mask=own)
        tl.store(out + 7 * stride, cross, mask=own)
        tl.store(out + 8 * stride, ref_cross, mask=own)


@triton.jit(do_not_specialize=["tokens", "segments"])
def merge_kernel(
    partials,
    statistics,
    tokens,
    segments,
    HAS_REFERENCE: tl.constexpr,
    ROWS: tl.constexpr,
    SEGMENTS: tl.constexpr,
):
    """statistics [4 or 9, tokens] from partials [segments, 4 or 9, tokens]: in a fixed order."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    own = rows < tokens
    stride = tokens.to(tl.int64)
    NUMBERS: tl.constexpr = 9 if HAS_REFERENCE else 4
    top = tl.full((ROWS,), LOWEST, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    weighted = tl.zeros((ROWS,), tl.float32)
    score = tl.full((ROWS,), float("-inf"), tl.float32)
    ref_top, ref_total, ref_score = top, total, score
    cross, ref_cross = total, total
    for start in range(0, segments, SEGMENTS):
        segment = start + tl.arange(0, SEGMENTS)
        part = partials + (segment * NUMBERS).to(tl.int64)[:, None] * stride + rows[None, :]
        mask = (segment < segments)[:, None] & own[None, :]
        tops = tl.load(part, mask=mask, other=LOWEST)
        totals = tl.load(part + stride, mask=mask, other=0.0)
        weighteds = tl.load(part + 2 * stride, mask=mask, other=0.0)
        scores = tl.load(part + 3 * stride, mask=mask, other=float("-inf"))
        new_top = tl.maximum(top, tl.max(tops, 0))
        falls = bounded(tops - new_top[None, :])
        keeps = exponential(falls)
        fall = bounded(top - new_top)
        keep = exponential(fall)
        weighted = keep * (weighted + fall * total) + tl.sum(keeps * (weighteds + falls * totals), 0)
        score = tl.maximum(score, tl.max(scores, 0))
        if HAS_REFERENCE:
            ref_tops = tl.load(part + 4 * stride, mask=mask, other=LOWEST)
            ref_totals = tl.load(part + 5 * stride, mask=mask, other=0.0)
            ref_scores = tl.load(part + 6 * stride, mask=mask, other=float("-inf"))
            crosses = tl.load(part + 7 * stride, mask=mask, other=0.0)
            ref_crosses = tl.load(part + 8 * stride, mask=mask, other=0.0)
            new_ref_top = tl.maximum(ref_top, tl.max(ref_tops, 0))
            ref_falls = bounded(ref_tops - new_ref_top[None, :])
            ref_keeps = exponential(ref_falls)
            ref_fall = bounded(ref_top - new_ref_top)
            ref_keep = exponential(ref_fall)
            ref_score = tl.maximum(ref_score, tl.max(ref_scores, 0))
            cross = keep * (cross + (fall - ref_fall) * total)
            cross += tl.sum(keeps * (crosses + (falls - ref_falls) * totals), 0)
            ref_cross = ref_keep * (ref_cross + (ref_fall - fall) * ref_total)
            ref_cross += tl.sum(ref_keeps * (ref_crosses + (ref_falls - falls) * ref_totals), 0)
            ref_total = ref_keep * ref_total + tl.sum(ref_keeps * ref_totals, 0)
            ref_top = new_ref_top
        total = keep * total + tl.sum(keeps * totals, 0)
        top = new_top
    out = statistics + rows
    tl.store(out, top, mask=own)
    tl.store(out + stride, total, mask=own)
    tl.store(out + 2 * stride, weighted, mask=own)
    tl.store(out + 3 * stride, score, mask=own)
    if HAS_REFERENCE:
        tl.store(out + 4 * stride, ref_top, mask=own)
        tl.store(out + 5 * stride, ref_total, mask=own)
        tl.store(out + 6 * stride, ref_score, mask=own)
        tl.store(out + 7 * stride, cross, mask=own)
        tl.store(out + 8 * stride, ref_cross, mask=own)
