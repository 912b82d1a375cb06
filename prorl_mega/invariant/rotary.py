"""Rotary positions: the turning of a head, without the fused multiplication and addition of torch's `addcmul`."""

from __future__ import annotations

import torch
from torch import Tensor


def turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """`x` `[tokens, heads, head_dim]`, its first `rotary_dim` channels turned; `cosines` and `sines` are
    `[tokens, 1, rotary_dim]`, both halves equal but for the minus sign of the first half of the sines."""
    width = cosines.shape[-1]
    first = x[..., :width]
    found = first * cosines + first.roll(width // 2, -1) * sines
    return found if width == x.shape[-1] else torch.cat((found, x[..., width:]), -1)
