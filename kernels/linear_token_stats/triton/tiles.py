"""Triton versions of the two operations on a tile of logits that exists: its statistics, and its gradient.

Both read the tile once, so they are bound by memory bandwidth. Bytes moved per logit:

    tile_statistics   4 read; 8 with a reference       (2 and 4 when the logits are 16-bit)
    tile_gradient     4 read, 2 written (16-bit) or 4 (fp32); 4 more read with a reference

A row is read in the same order whatever other rows there are: results do not depend on the batch.
"""

# mypy: allow-untyped-defs
# (device functions take what Triton passes)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from prorl_kernels.linear_token_stats.triton.math import (
    LAUNCH_OPTIONS,
    LOWEST,
    bounded,
    exponential,
    logits_gradient,
    logits_gradient_with_reference,
    on_device_of,
    scale_derivative,
    scaled,
)

GRADIENT_COLUMNS = 4096  # per program of the gradient


def tile_statistics(
    logits: Tensor,
    targets: Tensor,
    inverse_temperature: Tensor | None,
    softcap: float | None,
    ref_logits: Tensor | None,
    valid_cols: int,
) -> Tensor:
    """Statistics of the columns of one tile, in one pass.

    Args:
        logits: raw `[rows, cols]`, fp32, bf16 or fp16, contiguous within a row; read only.
        targets: `[rows]` int32 or int64, relative to the tile's first column; outside `[0, valid_cols)` means that the
            target is not in this tile.
        inverse_temperature: `[rows]` fp32, or None for 1.
        softcap: logits become softcap · tanh(logits / softcap) before the temperature, the reference's too; or None.
        ref_logits: raw logits of the reference, like `logits`, or None.
        valid_cols: columns from here on are padding: never read, probability 0.

    Returns:
        fp32 `[4, rows]`, with a reference `[9, rows]`, as `stats.py` lists them. Without columns: maxima are the lowest
        finite number, sums are 0.
    """
    rows, cols = logits.shape
    _check_tile(logits, targets, inverse_temperature, ref_logits, valid_cols)
    statistics = torch.empty(4 if ref_logits is None else 9, rows, dtype=torch.float32, device=logits.device)
    if rows == 0:
        return statistics
    widest = 2048 if ref_logits is None else 1024  # 16 or 8 columns per thread: the running numbers fit in registers
    with on_device_of(logits):
        _statistics_kernel[(rows,)](
            logits,
            logits if ref_logits is None else ref_logits,
            targets,
            targets if inverse_temperature is None else inverse_temperature,
            statistics,
            rows,
            valid_cols,
            logits.stride(0),
            logits.stride(0) if ref_logits is None else ref_logits.stride(0),
            1.0 if softcap is None else softcap,
            HAS_REFERENCE=ref_logits is not None,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            BLOCK=min(widest, max(128, triton.next_power_of_2(cols))),
            num_warps=4,
            **LAUNCH_OPTIONS,
        )
    return statistics


def tile_gradient(
    logits: Tensor,
    targets: Tensor,
    inverse_temperature: Tensor | None,
    softcap: float | None,
    ref_logits: Tensor | None,
    valid_cols: int,
    scalars: Tensor,
    out: Tensor,
) -> Tensor:
    """Gradient in the raw logits of one tile, in one pass; the first six arguments as in `tile_statistics`.

    Args:
        scalars: fp32 `[5, rows]`, over the whole vocabulary: 0 row max, 1 log of row sum, 2 entropy, and the upstream
            gradients of 3 logprob and 4 entropy; with a reference `[10, rows]`: and 5 ref max, 6 log of ref sum,
            7 kl_reverse, and the upstream gradients of 8 kl_reverse and 9 kl_forward. Upstream gradients are the
            caller's: the division by the temperature happens here.
        out: `[rows, cols]`, any floating dtype, contiguous within a row; may be `logits` itself (fp32). Padding columns
            become 0.

    Returns:
        `out`: dL/d logits.
    """
    rows, cols = logits.shape
    _check_tile(logits, targets, inverse_temperature, ref_logits, valid_cols)
    assert out.shape == logits.shape, f"out {list(out.shape)} of logits {list(logits.shape)}"
    assert cols == 0 or out.stride(1) == 1, f"columns of out must be contiguous, strides are {out.stride()}"
    _check_rows(scalars, (5 if ref_logits is None else 10, rows))
    if rows == 0 or cols == 0:
        return out
    blocks = triton.cdiv(cols, GRADIENT_COLUMNS)
    with on_device_of(logits):
        _gradient_kernel[(rows * blocks,)](
            logits,
            logits if ref_logits is None else ref_logits,
            targets,
            targets if inverse_temperature is None else inverse_temperature,
            scalars,
            out,
            rows,
            cols,
            valid_cols,
            blocks,
            logits.stride(0),
            logits.stride(0) if ref_logits is None else ref_logits.stride(0),
            out.stride(0),
            1.0 if softcap is None else softcap,
            HAS_REFERENCE=ref_logits is not None,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            COLUMNS=GRADIENT_COLUMNS,
            BLOCK=min(1024, max(128, triton.next_power_of_2(cols))),
            num_warps=4,
            **LAUNCH_OPTIONS,
        )
    return out


def _check_tile(
    logits: Tensor, targets: Tensor, inverse_temperature: Tensor | None, ref_logits: Tensor | None, valid_cols: int
) -> None:
    rows, cols = logits.shape
    assert 0 <= valid_cols <= cols, f"valid_cols={valid_cols} of {cols}"
    for tile in (logits,) if ref_logits is None else (logits, ref_logits):
        assert tile.shape == logits.shape, f"reference {list(tile.shape)} of logits {list(logits.shape)}"
        assert cols == 0 or tile.stride(1) == 1, f"columns must be contiguous, strides are {tile.stride()}"
        assert tile.dtype in (torch.float32, torch.bfloat16, torch.float16), f"logits are {tile.dtype}"
    assert targets.shape == (rows,), f"targets {list(targets.shape)} of {rows} rows"
    assert targets.is_contiguous()
    if inverse_temperature is not None:
        _check_rows(inverse_temperature, (rows,))


def _check_rows(scalars: Tensor, shape: tuple[int, ...]) -> None:
    assert scalars.shape == shape, f"expected {list(shape)}, got {list(scalars.shape)}"
    assert scalars.dtype == torch.float32, f"expected fp32, got {scalars.dtype}"
    assert scalars.is_contiguous()


@triton.jit
def _online_softmax(row_max, row_sum, entropy_sum, scores):
    """Adds one column to each lane's statistics. Of the two exponentials of a merge one is always 1."""
    difference = scores - row_max
    rises = difference > 0
    step = bounded(-tl.abs(difference))
    smaller = exponential(step)
    alpha = tl.where(rises, smaller, 1.0)
    p = tl.where(rises, 1.0, smaller)
    delta = tl.where(rises, step, 0.0)  # old maximum − new maximum
    shifted = tl.where(rises, 0.0, step)  # score − new maximum
    entropy_sum = alpha * (entropy_sum + delta * row_sum) + p * shifted
    row_sum = alpha * row_sum + p
    return tl.where(rises, scores, row_max), row_sum, entropy_sum, alpha, p, delta, shifted


@triton.jit
def _online_softmax_pair(
    row_max, row_sum, entropy_sum, ref_max, ref_sum, kl_reverse_sum, kl_forward_sum, scores, ref_scores
):
    """Adds one column of policy and reference to each lane's statistics."""
    old_row_sum, old_ref_sum = row_sum, ref_sum
    ref_entropy_sum = tl.zeros_like(ref_sum)  # nobody needs the reference's entropy: dead code
    row_max, row_sum, entropy_sum, alpha, p, delta, shifted = _online_softmax(row_max, row_sum, entropy_sum, scores)
    ref_max, ref_sum, _, ref_alpha, ref_p, ref_delta, ref_shifted = _online_softmax(
        ref_max, ref_sum, ref_entropy_sum, ref_scores
    )
    kl_reverse_sum = alpha * (kl_reverse_sum + (delta - ref_delta) * old_row_sum) + p * (shifted - ref_shifted)
    kl_forward_sum = ref_alpha * (kl_forward_sum + (ref_delta - delta) * old_ref_sum) + ref_p * (ref_shifted - shifted)
    return row_max, row_sum, entropy_sum, ref_max, ref_sum, kl_reverse_sum, kl_forward_sum


@triton.jit
def _target_score(
    row_logits, target, valid_cols, scale, softcap, HAS_TEMPERATURE: tl.constexpr, HAS_SOFTCAP: tl.constexpr
):
    owned = (target >= 0) & (target < valid_cols)
    logit = tl.load(row_logits + target, mask=owned, other=0.0).to(tl.float32)
    return tl.where(owned, scaled(logit, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP), float("-inf"))


@triton.jit(do_not_specialize=["rows"])
def _statistics_kernel(
    logits,
    ref_logits,
    targets,
    inverse_temperature,
    statistics,
    rows,
    valid_cols,
    logits_stride,
    ref_stride,
    softcap,
    HAS_REFERENCE: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program per row. Every lane keeps the statistics of its own columns; lanes are merged once, at the end."""
    row = tl.program_id(0).to(tl.int64)
    row_logits = logits + row * logits_stride
    row_ref_logits = ref_logits + row * ref_stride
    target = tl.load(targets + row).to(tl.int64)
    scale = 1.0
    if HAS_TEMPERATURE:
        scale = tl.load(inverse_temperature + row)
    lanes = tl.arange(0, BLOCK)
    nothing = tl.zeros((BLOCK,), tl.float32)
    row_max, row_sum, entropy_sum = nothing + LOWEST, nothing, nothing
    ref_max, ref_sum, kl_reverse_sum, kl_forward_sum = nothing + LOWEST, nothing, nothing, nothing
    unmasked = valid_cols // BLOCK * BLOCK
    for start in range(0, valid_cols, BLOCK):
        columns = start + lanes
        if start < unmasked:  # without a mask the loads are 16 bytes wide whatever valid_cols is
            raw = tl.load(row_logits + columns).to(tl.float32)
        else:
            raw = tl.load(row_logits + columns, mask=columns < valid_cols, other=0.0).to(tl.float32)
        scores = scaled(raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
        scores = tl.where(columns < valid_cols, scores, float("-inf"))
        if HAS_REFERENCE:
            if start < unmasked:
                ref_raw = tl.load(row_ref_logits + columns).to(tl.float32)
            else:
                ref_raw = tl.load(row_ref_logits + columns, mask=columns < valid_cols, other=0.0).to(tl.float32)
            ref_scores = scaled(ref_raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            ref_scores = tl.where(columns < valid_cols, ref_scores, float("-inf"))
            row_max, row_sum, entropy_sum, ref_max, ref_sum, kl_reverse_sum, kl_forward_sum = _online_softmax_pair(
                row_max, row_sum, entropy_sum, ref_max, ref_sum, kl_reverse_sum, kl_forward_sum, scores, ref_scores
            )
        else:
            row_max, row_sum, entropy_sum, _, _, _, _ = _online_softmax(row_max, row_sum, entropy_sum, scores)
    final_max = tl.max(row_max, 0)
    delta = bounded(row_max - final_max)
    alpha = exponential(delta)
    out = statistics + row
    rows = rows.to(tl.int64)
    tl.store(out, final_max)
    tl.store(out + rows, tl.sum(alpha * row_sum, 0))
    tl.store(out + 2 * rows, tl.sum(alpha * (entropy_sum + delta * row_sum), 0))
    score = _target_score(row_logits, target, valid_cols, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
    tl.store(out + 3 * rows, score)
    if HAS_REFERENCE:
        ref_final_max = tl.max(ref_max, 0)
        ref_delta = bounded(ref_max - ref_final_max)
        ref_alpha = exponential(ref_delta)
        tl.store(out + 4 * rows, ref_final_max)
        tl.store(out + 5 * rows, tl.sum(ref_alpha * ref_sum, 0))
        ref_score = _target_score(row_ref_logits, target, valid_cols, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
        tl.store(out + 6 * rows, ref_score)
        tl.store(out + 7 * rows, tl.sum(alpha * (kl_reverse_sum + (delta - ref_delta) * row_sum), 0))
        tl.store(out + 8 * rows, tl.sum(ref_alpha * (kl_forward_sum + (ref_delta - delta) * ref_sum), 0))


@triton.jit(do_not_specialize=["rows"])
def _gradient_kernel(
    logits,
    ref_logits,
    targets,
    inverse_temperature,
    scalars,
    out,
    rows,
    cols,
    valid_cols,
    blocks,
    logits_stride,
    ref_stride,
    out_stride,
    softcap,
    HAS_REFERENCE: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program per row and COLUMNS columns. A thread writes what it has read: in place is safe."""
    program = tl.program_id(0)
    row = (program // blocks).to(tl.int64)
    first = program % blocks * COLUMNS
    row_logits = logits + row * logits_stride
    row_ref_logits = ref_logits + row * ref_stride
    row_out = out + row * out_stride
    target = tl.load(targets + row)
    scale = 1.0
    if HAS_TEMPERATURE:
        scale = tl.load(inverse_temperature + row)
    rows = rows.to(tl.int64)
    row_scalars = scalars + row
    row_max, log_sum, entropy = tl.load(row_scalars), tl.load(row_scalars + rows), tl.load(row_scalars + 2 * rows)
    d_logprob, d_entropy = tl.load(row_scalars + 3 * rows), tl.load(row_scalars + 4 * rows)
    if HAS_REFERENCE:
        ref_max, ref_log_sum = tl.load(row_scalars + 5 * rows), tl.load(row_scalars + 6 * rows)
        kl_reverse = tl.load(row_scalars + 7 * rows)
        d_kl_reverse, d_kl_forward = tl.load(row_scalars + 8 * rows), tl.load(row_scalars + 9 * rows)
    for start in range(first, min(first + COLUMNS, cols), BLOCK):
        columns = start + tl.arange(0, BLOCK)
        valid = columns < valid_cols
        raw = tl.load(row_logits + columns, mask=valid, other=0.0).to(tl.float32)
        scores = scaled(raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
        is_target = columns == target
        if HAS_REFERENCE:
            ref_raw = tl.load(row_ref_logits + columns, mask=valid, other=0.0).to(tl.float32)
            ref_scores = scaled(ref_raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
            gradient = logits_gradient_with_reference(
                scores,
                ref_scores,
                is_target,
                row_max,
                log_sum,
                entropy,
                d_logprob,
                d_entropy,
                ref_max,
                ref_log_sum,
                kl_reverse,
                d_kl_reverse,
                d_kl_forward,
            )
        else:
            gradient = logits_gradient(scores, is_target, row_max, log_sum, entropy, d_logprob, d_entropy)
        gradient = gradient * scale_derivative(raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)
        gradient = tl.where(valid, gradient, 0.0)
        tl.store(row_out + columns, gradient.to(out.dtype.element_ty), mask=columns < cols)
