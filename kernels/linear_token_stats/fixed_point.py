"""16-bit fixed-point logits, in plain torch: q = 512 (s − m) + 32767, s scaled logits, m the maximum of the row."""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.tiles import scale

STEPS_PER_NAT = 512.0
LARGEST = 32767


def quantize(
    logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None, quantized: Tensor, row_max: Tensor
) -> None:
    """Fill `quantized` `[rows, cols]` and `row_max` `[rows]` from raw logits, which stay as they are."""
    scaled = scale(logits.clone(), inverse_temperature, softcap)
    torch.amax(scaled, 1, out=row_max)
    row_max.clamp_(min=torch.finfo(row_max.dtype).min)
    quantized.copy_(scaled.sub_(row_max[:, None]).mul_(STEPS_PER_NAT).add_(LARGEST).round_().clamp_(min=-LARGEST - 1))


def dequantize(quantized: Tensor, row_max: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    """Raw logits `[rows, cols]` in the dtype of `row_max`."""
    logits = quantized.to(row_max.dtype).mul_(1 / STEPS_PER_NAT).add_((row_max - LARGEST / STEPS_PER_NAT)[:, None])
    if inverse_temperature is not None:
        logits.div_(inverse_temperature[:, None])
    if softcap is not None:
        inside = 1 - torch.finfo(logits.dtype).eps
        logits.div_(softcap).clamp_(-inside, inside).atanh_().mul_(softcap)
    return logits
