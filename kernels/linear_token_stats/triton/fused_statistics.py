# mypy: allow-untyped-defs
# (device functions take what Triton passes)
"""Device side of `fused_statistics`: online softmax statistics in the product's epilogue, then a merge of segments."""

from __future__ import annotations

import triton
import triton.language as tl

from prorl_kernels.linear_token_stats.triton.math import LOWEST, bounded, exponential, scaled
from prorl_kernels.linear_token_stats.triton.matmul import matmul, matmul_pair, tile_of_item


@triton.jit
def mask_padding(scores, column, valid_cols, COLUMNS: tl.constexpr):
    """Scores with −inf in the padding columns, and the maximum of each row, finite."""
    row_max = tl.max(scores, 1)  # before the branch: see matmul.py
    if column + COLUMNS > valid_cols:
        columns = column + tl.arange(0, COLUMNS)
        scores = tl.where(columns[None, :] < valid_cols, scores, float("-inf"))
        row_max = tl.max(scores, 1)
    return scores, tl.maximum(row_max, LOWEST)


@triton.jit
def target_scores(scores, column, targets, COLUMNS: tl.constexpr):
    """The score of each row's target, −inf where it is not among these columns."""
    columns = column + tl.arange(0, COLUMNS)
    return tl.max(tl.where(columns[None, :] == targets[:, None], scores, float("-inf")), 1)


@triton.jit
def any_target(targets, column, COLUMNS: tl.constexpr):
    """Whether a target of any row is among these columns: most tiles have none and skip the search."""
    return tl.max(((targets >= column) & (targets < column + COLUMNS)).to(tl.int32), 0) > 0


@triton.jit
def rescale(row_max, scores, tile_max):
    """The new maximum m, old m − new m, the factor alpha = e^(old m − new m) of the old sums, and scores − m."""
    new_max = tl.maximum(row_max, tile_max)
    delta = bounded(row_max - new_max)
    return new_max, delta, exponential(delta), bounded(scores - new_max[:, None])


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
        row_block, segment = tile_of_item(item, row_blocks, segments, GROUP)
        rows = row_block * ROWS + tl.arange(0, ROWS)
        row_mask = rows < tokens
        target = tl.load(targets + rows, mask=row_mask, other=-1).to(tl.int32)
        scale = 1.0
        if HAS_TEMPERATURE:
            scale = tl.load(inverse_temperature + rows, mask=row_mask, other=1.0)[:, None]
        row_max = tl.full((ROWS,), LOWEST, tl.float32)
        row_sum = tl.zeros((ROWS,), tl.float32)
        entropy_sum = tl.zeros((ROWS,), tl.float32)
        target_score = tl.full((ROWS,), float("-inf"), tl.float32)
        for tile in range(segment * segment_tiles, (segment + 1) * segment_tiles):
            column = tile * COLUMNS
            logits = tl.zeros((ROWS, COLUMNS), tl.float32)
            logits = matmul(hidden, weight, row_block * ROWS, column, 0, width, logits, BLOCK_D)
            scores = scaled(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            scores, tile_max = mask_padding(scores, column, valid_cols, COLUMNS)
            if any_target(target, column, COLUMNS):
                target_score = tl.maximum(target_score, target_scores(scores, column, target, COLUMNS))
            row_max, delta, alpha, shifted = rescale(row_max, scores, tile_max)
            p = exponential(shifted)
            entropy_sum = alpha * (entropy_sum + delta * row_sum) + tl.sum(p * shifted, 1)
            row_sum = alpha * row_sum + tl.sum(p, 1)
        stride = tokens.to(tl.int64)
        out = partials + segment * 4 * stride + rows
        tl.store(out, row_max, mask=row_mask)
        tl.store(out + stride, row_sum, mask=row_mask)
        tl.store(out + 2 * stride, entropy_sum, mask=row_mask)
        tl.store(out + 3 * stride, target_score, mask=row_mask)


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
    """Writes `partials` [segments, 9, tokens]: as above, with a reference."""
    for item in range(tl.program_id(0), row_blocks * segments, tl.num_programs(0)):
        row_block, segment = tile_of_item(item, row_blocks, segments, GROUP)
        row = row_block * ROWS
        rows = row + tl.arange(0, ROWS)
        row_mask = rows < tokens
        target = tl.load(targets + rows, mask=row_mask, other=-1).to(tl.int32)
        scale = 1.0
        if HAS_TEMPERATURE:
            scale = tl.load(inverse_temperature + rows, mask=row_mask, other=1.0)[:, None]
        row_max = tl.full((ROWS,), LOWEST, tl.float32)
        row_sum = tl.zeros((ROWS,), tl.float32)
        entropy_sum = tl.zeros((ROWS,), tl.float32)
        target_score = tl.full((ROWS,), float("-inf"), tl.float32)
        ref_max, ref_sum, ref_target_score = row_max, row_sum, target_score
        kl_reverse_sum, kl_forward_sum = row_sum, row_sum
        for tile in range(segment * segment_tiles, (segment + 1) * segment_tiles):
            column = tile * COLUMNS
            logits, ref_logits = matmul_pair(
                hidden, weight, ref_hidden, ref_weight, row, column, width, ref_width, ROWS, COLUMNS, BLOCK_D
            )
            scores = scaled(logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            ref_scores = scaled(ref_logits, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            scores, tile_max = mask_padding(scores, column, valid_cols, COLUMNS)
            ref_scores, ref_tile_max = mask_padding(ref_scores, column, valid_cols, COLUMNS)
            if any_target(target, column, COLUMNS):
                target_score = tl.maximum(target_score, target_scores(scores, column, target, COLUMNS))
                ref_target_score = tl.maximum(ref_target_score, target_scores(ref_scores, column, target, COLUMNS))
            row_max, delta, alpha, shifted = rescale(row_max, scores, tile_max)
            ref_max, ref_delta, ref_alpha, ref_shifted = rescale(ref_max, ref_scores, ref_tile_max)
            p, ref_p = exponential(shifted), exponential(ref_shifted)
            ratio = shifted - ref_shifted
            entropy_sum = alpha * (entropy_sum + delta * row_sum) + tl.sum(p * shifted, 1)
            kl_reverse_sum = alpha * (kl_reverse_sum + (delta - ref_delta) * row_sum) + tl.sum(p * ratio, 1)
            kl_forward_sum = ref_alpha * (kl_forward_sum + (ref_delta - delta) * ref_sum) - tl.sum(ref_p * ratio, 1)
            row_sum = alpha * row_sum + tl.sum(p, 1)
            ref_sum = ref_alpha * ref_sum + tl.sum(ref_p, 1)
        stride = tokens.to(tl.int64)
        out = partials + segment * 9 * stride + rows
        tl.store(out, row_max, mask=row_mask)
        tl.store(out + stride, row_sum, mask=row_mask)
        tl.store(out + 2 * stride, entropy_sum, mask=row_mask)
        tl.store(out + 3 * stride, target_score, mask=row_mask)
        tl.store(out + 4 * stride, ref_max, mask=row_mask)
        tl.store(out + 5 * stride, ref_sum, mask=row_mask)
        tl.store(out + 6 * stride, ref_target_score, mask=row_mask)
        tl.store(out + 7 * stride, kl_reverse_sum, mask=row_mask)
        tl.store(out + 8 * stride, kl_forward_sum, mask=row_mask)


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
    row_mask = rows < tokens
    stride = tokens.to(tl.int64)
    NUMBERS: tl.constexpr = 9 if HAS_REFERENCE else 4
    row_max = tl.full((ROWS,), LOWEST, tl.float32)
    row_sum = tl.zeros((ROWS,), tl.float32)
    entropy_sum = tl.zeros((ROWS,), tl.float32)
    target_score = tl.full((ROWS,), float("-inf"), tl.float32)
    ref_max, ref_sum, ref_target_score = row_max, row_sum, target_score
    kl_reverse_sum, kl_forward_sum = row_sum, row_sum
    for start in range(0, segments, SEGMENTS):
        segment = start + tl.arange(0, SEGMENTS)
        part = partials + (segment * NUMBERS).to(tl.int64)[:, None] * stride + rows[None, :]
        mask = (segment < segments)[:, None] & row_mask[None, :]
        maxima = tl.load(part, mask=mask, other=LOWEST)
        sums = tl.load(part + stride, mask=mask, other=0.0)
        entropy_sums = tl.load(part + 2 * stride, mask=mask, other=0.0)
        scores = tl.load(part + 3 * stride, mask=mask, other=float("-inf"))
        new_max = tl.maximum(row_max, tl.max(maxima, 0))
        deltas = bounded(maxima - new_max[None, :])
        alphas = exponential(deltas)
        delta = bounded(row_max - new_max)
        alpha = exponential(delta)
        entropy_sum = alpha * (entropy_sum + delta * row_sum) + tl.sum(alphas * (entropy_sums + deltas * sums), 0)
        target_score = tl.maximum(target_score, tl.max(scores, 0))
        if HAS_REFERENCE:
            ref_maxima = tl.load(part + 4 * stride, mask=mask, other=LOWEST)
            ref_sums = tl.load(part + 5 * stride, mask=mask, other=0.0)
            ref_scores = tl.load(part + 6 * stride, mask=mask, other=float("-inf"))
            kl_reverse_sums = tl.load(part + 7 * stride, mask=mask, other=0.0)
            kl_forward_sums = tl.load(part + 8 * stride, mask=mask, other=0.0)
            new_ref_max = tl.maximum(ref_max, tl.max(ref_maxima, 0))
            ref_deltas = bounded(ref_maxima - new_ref_max[None, :])
            ref_alphas = exponential(ref_deltas)
            ref_delta = bounded(ref_max - new_ref_max)
            ref_alpha = exponential(ref_delta)
            ref_target_score = tl.maximum(ref_target_score, tl.max(ref_scores, 0))
            kl_reverse_sum = alpha * (kl_reverse_sum + (delta - ref_delta) * row_sum)
            kl_reverse_sum += tl.sum(alphas * (kl_reverse_sums + (deltas - ref_deltas) * sums), 0)
            kl_forward_sum = ref_alpha * (kl_forward_sum + (ref_delta - delta) * ref_sum)
            kl_forward_sum += tl.sum(ref_alphas * (kl_forward_sums + (ref_deltas - deltas) * ref_sums), 0)
            ref_sum = ref_alpha * ref_sum + tl.sum(ref_alphas * ref_sums, 0)
            ref_max = new_ref_max
        row_sum = alpha * row_sum + tl.sum(alphas * sums, 0)
        row_max = new_max
    out = statistics + rows
    tl.store(out, row_max, mask=row_mask)
    tl.store(out + stride, row_sum, mask=row_mask)
    tl.store(out + 2 * stride, entropy_sum, mask=row_mask)
    tl.store(out + 3 * stride, target_score, mask=row_mask)
    if HAS_REFERENCE:
        tl.store(out + 4 * stride, ref_max, mask=row_mask)
        tl.store(out + 5 * stride, ref_sum, mask=row_mask)
        tl.store(out + 6 * stride, ref_target_score, mask=row_mask)
        tl.store(out + 7 * stride, kl_reverse_sum, mask=row_mask)
        tl.store(out + 8 * stride, kl_forward_sum, mask=row_mask)
