"""Triton versions of the two functions in `../fixed_point.py`: one program per row, each logit read from memory once.

Bytes moved per logit: quantize 4 read and 2 written, dequantize 2 read and 4 written.
"""

# mypy: allow-untyped-defs
# (device functions take what Triton passes)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from prorl_kernels.linear_token_stats.fixed_point import LARGEST, STEPS_PER_NAT
from prorl_kernels.linear_token_stats.triton.math import LAUNCH_OPTIONS, LOWEST, on_device_of, scaled

_STEPS_PER_NAT = tl.constexpr(STEPS_PER_NAT)
_LARGEST = tl.constexpr(LARGEST)
BLOCK = 1024


def quantize(
    logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None, quantized: Tensor, row_max: Tensor
) -> None:
    """Fill `quantized` `[rows, cols]` and `row_max` `[rows]` from raw logits, which stay as they are."""
    rows, cols = logits.shape
    with on_device_of(logits):
        _quantize_kernel[(rows,)](
            logits,
            row_max if inverse_temperature is None else inverse_temperature,
            quantized,
            row_max,
            cols,
            logits.stride(0),
            quantized.stride(0),
            1.0 if softcap is None else softcap,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            BLOCK=BLOCK,
            num_warps=4,
            **LAUNCH_OPTIONS,
        )


def dequantize(quantized: Tensor, row_max: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    """Raw logits `[rows, cols]` in the dtype of `row_max`."""
    rows, cols = quantized.shape
    logits = torch.empty(rows, cols, dtype=row_max.dtype, device=quantized.device)
    with on_device_of(quantized):
        _dequantize_kernel[(rows, triton.cdiv(cols, BLOCK))](
            quantized,
            row_max.contiguous(),
            row_max if inverse_temperature is None else inverse_temperature,
            logits,
            cols,
            quantized.stride(0),
            1.0 if softcap is None else softcap,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            BLOCK=BLOCK,
            num_warps=4,
            **LAUNCH_OPTIONS,
        )
    return logits


@triton.jit
def _quantize_kernel(
    logits,
    inverse_temperature,
    quantized,
    row_max,
    cols,
    logits_stride,
    quantized_stride,
    softcap,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    row_logits = logits + row * logits_stride
    row_quantized = quantized + row * quantized_stride
    scale = 1.0
    if HAS_TEMPERATURE:
        scale = tl.load(inverse_temperature + row)
    highest = tl.zeros((BLOCK,), tl.float32) + LOWEST
    for start in range(0, cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        raw = tl.load(row_logits + columns, mask=columns < cols, other=float("-inf"))
        highest = tl.maximum(highest, raw)
    maximum = scaled(tl.max(highest, 0), scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)  # scaling keeps the order
    tl.store(row_max + row, maximum)
    for start in range(0, cols, BLOCK):  # from the cache by now
        columns = start + tl.arange(0, BLOCK)
        raw = tl.load(row_logits + columns, mask=columns < cols, other=0.0)
        steps = (scaled(raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP) - maximum) * _STEPS_PER_NAT + _LARGEST
        rounded = tl.floor(tl.maximum(steps, -1.0 - _LARGEST) + 0.5)
        tl.store(row_quantized + columns, rounded.to(tl.int16), mask=columns < cols)


@triton.jit
def _dequantize_kernel(
    quantized,
    row_max,
    inverse_temperature,
    logits,
    cols,
    quantized_stride,
    softcap,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    steps = tl.load(quantized + row * quantized_stride + columns, mask=columns < cols, other=0).to(tl.float32)
    score = tl.load(row_max + row) + (steps - _LARGEST) / _STEPS_PER_NAT
    if HAS_TEMPERATURE:
        score = score / tl.load(inverse_temperature + row)
    if HAS_SOFTCAP:
        inside = 0.9999998807907104  # softcap itself would come from an infinite logit
        ratio = tl.minimum(tl.maximum(score / softcap, -inside), inside)
        score = softcap * 0.5 * tl.log((1.0 + ratio) / (1.0 - ratio))
    tl.store(logits + row * cols.to(tl.int64) + columns, score, mask=columns < cols)
