"""SwiGLU in fewer passes over memory than autograd takes, where no fused kernel exists."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GatedActivation(nn.Module):
    """`silu(a) · b` of the two halves of the last dimension, as the activation of a Megatron MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        assert config.gated_linear_unit
        assert config.activation_func is F.silu

    def forward(self, x: Tensor) -> Tensor:
        """`[..., 2 * ffn]` to `[..., ffn]`."""
        return Gated.apply(x)


class Gated(torch.autograd.Function):
    """Keeps its input only, and writes both halves of the gradient where they belong."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate).mul_(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate, value = x.chunk(2, dim=-1)
        x_grad = torch.empty_like(x)
        gate_grad, value_grad = x_grad.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=value_grad)
        torch.ops.aten.silu_backward.grad_input(grad * value, gate, grad_input=gate_grad)
        return x_grad
