"""Rotary positions: which angle each plane of a head is turned by at each position, and the turning itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prorl_mega.families.family import ModelDescription
from prorl_mega.families.rope import LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling
from prorl_mega.learner.packed_sequences import PackedSequences

Turn = Callable[[Tensor, Tensor, Tensor], Tensor]


class RotaryPositions(nn.Module):
    """Cosines and sines of the rotary embedding, with the scaling of the model."""

    def __init__(self, description: ModelDescription) -> None:
        super().__init__()
        exponents = torch.arange(0, description.rotary_dim, 2, dtype=torch.float32) / description.rotary_dim
        plain = description.rope_theta**exponents  # [rotary_dim / 2] tokens per radian
        scaling = description.rope_scaling
        self.attention_factor = getattr(scaling, "attention_factor", 1.0)
        self.frequencies = _frequencies(plain, description)  # [rotary_dim / 2] radians per token

    def forward(self, packed: PackedSequences) -> PackedSequences:
        """The same pack with `cosines` and `sines`; angles are fp32 whatever the model's precision is."""
        assert packed.positions is not None
        self.frequencies = self.frequencies.to(packed.positions.device)
        angles = torch.outer(packed.positions.float(), self.frequencies).unsqueeze(1)
        cosines, sines = angles.cos(), angles.sin()
        if self.attention_factor != 1.0:
            cosines, sines = cosines * self.attention_factor, sines * self.attention_factor
        return replace(packed, cosines=torch.cat((cosines, cosines), -1), sines=torch.cat((-sines, sines), -1))


def _frequencies(wavelengths: Tensor, description: ModelDescription) -> Tensor:
    """`wavelengths` are tokens per radian of the unscaled planes."""
    frequencies = 1.0 / wavelengths
    match description.rope_scaling:
        case LinearScaling(factor=factor):
            return frequencies / factor
        case Llama3Scaling() as scaling:
            return _llama3(frequencies, scaling)
        case YarnScaling() as scaling:
            kept = _yarn_kept(description, scaling)
            return (1.0 - kept) / (scaling.factor * wavelengths) + kept * frequencies
        case LongRopeScaling(factors=factors):
            return 1.0 / (torch.tensor(factors) * wavelengths)
    return frequencies


def _llama3(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Llama 3.1's rule: keep short wavelengths, divide long ones by `factor`, interpolate linearly in between.

    The kept share rises from 0 at `low_freq_factor` to 1 at `high_freq_factor` turns (rotations within the original
    context). Source: the reference implementation of Llama 3.1 (`apply_scaling`).
    """
    turns = scaling.original_max_positions * frequencies / (2 * torch.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return (1.0 - kept) * frequencies / scaling.factor + kept * frequencies


def _yarn_kept(description: ModelDescription, scaling: YarnScaling) -> Tensor:
    """How much of each plane's frequency is kept, `[rotary_dim / 2]`: 1, falling linearly over the planes to 0.

    Plane i turns C θ^(−2i / d) / 2π times within the original context C: i = d ln(C / 2π turns) / (2 ln θ).
    """
    planes, context = description.rotary_dim // 2, scaling.original_max_positions

    def plane(turns: float) -> float:
        return planes * math.log(context / (2 * math.pi * turns)) / math.log(description.rope_theta)

    first, last = plane(scaling.beta_fast), plane(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, description.rotary_dim - 1)
    width = last - first or 0.001
    return 1.0 - ((torch.arange(planes, dtype=torch.float32) - first) / width).clamp(0.0, 1.0)


def rotate(x: Tensor, packed: PackedSequences, turn: Turn) -> Tensor:
    """`x` `[tokens, heads, head_dim]` with the leading channels of each head turned; the others are as they were.

    `turn` turns whole heads, given cosines and sines.
    """
    assert packed.cosines is not None
    assert packed.sines is not None
    width = packed.cosines.shape[-1]
    if width == x.shape[-1]:
        return turn(x, packed.cosines, packed.sines)
    turned, rest = x.split((width, x.shape[-1] - width), dim=-1)
    return torch.cat((turn(turned, packed.cosines, packed.sines), rest), dim=-1)


class Rotated(torch.autograd.Function):
    """Rotate `[tokens, heads, head_dim]`: channel i forms a plane with channel i + head_dim / 2.

    The gradient is rotated back. Both take three passes over memory; autograd's gradient of slices takes ten.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        cosines, sines = cosines.to(x.dtype), sines.to(x.dtype)
        ctx.save_for_backward(cosines, sines)
        return torch.addcmul(x * cosines, x.roll(x.shape[-1] // 2, -1), sines)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return torch.addcmul(grad * cosines, grad.roll(grad.shape[-1] // 2, -1), sines, value=-1), None, None
