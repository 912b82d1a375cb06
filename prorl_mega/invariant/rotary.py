"""Rotary positions: the angles of whole tables, so that a position always has the same ones, and the turning."""

from __future__ import annotations

import torch
from torch import Tensor


def angle_table(frequencies: Tensor, positions: int, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[positions, rotary_dim]` times `factor`; `frequencies` `[rotary_dim / 2]` are in radians per
    token. Both halves of a row are equal, but for the minus sign of the first half of the sines."""
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    cosines, sines = angles.cos() * factor, angles.sin() * factor
    return torch.cat((cosines, cosines), -1), torch.cat((-sines, sines), -1)


def turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """`x` `[tokens, heads, head_dim]`, its first `rotary_dim` channels turned; `cosines` and `sines` are
    `[tokens, 1, rotary_dim]`."""
    width = cosines.shape[-1]
    first = x[..., :width]
    found = first * cosines + first.roll(width // 2, -1) * sines
    return found if width == x.shape[-1] else torch.cat((found, x[..., width:]), -1)
