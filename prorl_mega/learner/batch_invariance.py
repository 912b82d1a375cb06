"""Parts of a layer with the forward functions of `prorl_mega.invariant`, which the sampler computes with as well.

Linear layers need none: oneDNN's products have it already (`linear.py`), with two rows and more. Gradients are those of
the other parts, from the results that these have.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from prorl_mega.invariant.attention import attend
from prorl_mega.invariant.gate import gated
from prorl_mega.invariant.norm import inverse_rms
from prorl_mega.invariant.rotary import turned
from prorl_mega.learner.attention import PackedAttention
from prorl_mega.learner.gate import Gated, GatedActivation
from prorl_mega.learner.norm import Normalized, RMSNorm
from prorl_mega.learner.rotary import Rotated


class InvariantRMSNorm(RMSNorm):
    """`RMSNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        return _InvariantNormalized.apply(x, self.weight, self.eps)


class _InvariantNormalized(Normalized):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)


class InvariantGatedActivation(GatedActivation):
    """`GatedActivation`."""

    def forward(self, x: Tensor) -> Tensor:
        return _InvariantGated.apply(x)


class _InvariantGated(Gated):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return gated(x)


class InvariantAttention(PackedAttention):
    """`PackedAttention` in fp32 on a CPU, sequence by sequence."""

    def rotated(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        return _InvariantRotated.apply(x, cosines, sines)

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        return _Attended.apply(query, key, value, scale)


class _InvariantRotated(Rotated):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return turned(x, cosines, sines)


class _Attended(torch.autograd.Function):
    """Causal attention of `[sequences, heads, length, head_dim]`; the gradient is that of torch's own."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        sequences = zip(*(x.transpose(1, 2) for x in (query, key, value)), strict=True)
        return torch.stack([attend(q, k, v, scale) for q, k, v in sequences]).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = (x.detach().requires_grad_() for x in ctx.saved_tensors)
        with torch.enable_grad():
            found = F.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=ctx.scale, enable_gqa=query.shape[1] != key.shape[1]
            )
        return (*torch.autograd.grad(found, (query, key, value), grad), None)
