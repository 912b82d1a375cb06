"""Triton versions of the two functions in `codes.py`: one program per row, each logit read from memory once.

Bytes moved per logit: encode 4 read and 2 written, decode 2 read and 4 written.
"""

# mypy: allow-untyped-defs
# (device functions take what Triton passes)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from prorl_kernels.linear_token_stats.codes import LARGEST, PER_NAT
from prorl_kernels.linear_token_stats.triton_math import LOWEST, OPTIONS, on_device_of, scaled

_PER_NAT = tl.constexpr(PER_NAT)
_LARGEST = tl.constexpr(LARGEST)
BLOCK = 1024


def encode(
    logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None, codes: Tensor, tops: Tensor
) -> None:
    """Fill `codes` `[rows, cols]` and `tops` `[rows]` from raw logits, which stay as they are."""
    rows, cols = logits.shape
    with on_device_of(logits):
        _encode_kernel[(rows,)](
            logits,
            tops if inverse_temperature is None else inverse_temperature,
            codes,
            tops,
            cols,
            logits.stride(0),
            codes.stride(0),
            1.0 if softcap is None else softcap,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            BLOCK=BLOCK,
            num_warps=4,
            **OPTIONS,
        )


def decode(codes: Tensor, tops: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    """Raw logits `[rows, cols]` in the dtype of `tops`."""
    rows, cols = codes.shape
    logits = torch.empty(rows, cols, dtype=tops.dtype, device=codes.device)
    with on_device_of(codes):
        _decode_kernel[(rows, triton.cdiv(cols, BLOCK))](
            codes,
            tops.contiguous(),
            tops if inverse_temperature is None else inverse_temperature,
            logits,
            cols,
            codes.stride(0),
            1.0 if softcap is None else softcap,
            HAS_TEMPERATURE=inverse_temperature is not None,
            HAS_SOFTCAP=softcap is not None,
            BLOCK=BLOCK,
            num_warps=4,
            **OPTIONS,
        )
    return logits


@triton.jit
def _encode_kernel(
    logits,
    inverse_temperature,
    codes,
    tops,
    cols,
    logits_stride,
    codes_stride,
    softcap,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    row_logits = logits + row * logits_stride
    row_codes = codes + row * codes_stride
    scale = 1.0
    if HAS_TEMPERATURE:
        scale = tl.load(inverse_temperature + row)
    highest = tl.zeros((BLOCK,), tl.float32) + LOWEST
    for start in range(0, cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        raw = tl.load(row_logits + columns, mask=columns < cols, other=float("-inf"))
        highest = tl.maximum(highest, raw)
    top = scaled(tl.max(highest, 0), scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP)  # scaling keeps the order
    tl.store(tops + row, top)
    for start in range(0, cols, BLOCK):  # from the cache by now
        columns = start + tl.arange(0, BLOCK)
        raw = tl.load(row_logits + columns, mask=columns < cols, other=0.0)
        steps = (scaled(raw, scale, softcap, HAS_TEMPERATURE, HAS_SOFTCAP) - top) * _PER_NAT + _LARGEST
        rounded = tl.floor(tl.maximum(steps, -1.0 - _LARGEST) + 0.5)
        tl.store(row_codes + columns, rounded.to(tl.int16), mask=columns < cols)


@triton.jit
def _decode_kernel(
    codes,
    tops,
    inverse_temperature,
    logits,
    cols,
    codes_stride,
    softcap,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    code = tl.load(codes + row * codes_stride + columns, mask=columns < cols, other=0).to(tl.float32)
    score = tl.load(tops + row) + (code - _LARGEST) / _PER_NAT
    if HAS_TEMPERATURE:
        score = score / tl.load(inverse_temperature + row)
    if HAS_SOFTCAP:
        inside = 0.9999998807907104  # softcap itself would come from an infinite logit
        ratio = tl.minimum(tl.maximum(score / softcap, -inside), inside)
        score = softcap * 0.5 * tl.log((1.0 + ratio) / (1.0 - ratio))
    tl.store(logits + row * cols.to(tl.int64) + columns, score, mask=columns < cols)
