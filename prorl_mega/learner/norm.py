"""RMSNorm with Hugging Face's arithmetic and Megatron's bookkeeping."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """`weight * x / sqrt(mean(x²) + eps)` over the last dimension; the mean and the division are in fp32.

    Under sequence parallelism every tensor-parallel rank sees other tokens, so the gradients of `weight` have to be
    summed over these ranks; Megatron does so for parameters that are marked `sequence_parallel`.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        """`[..., hidden]` in any floating dtype to the same shape and dtype."""
        return Normalized.apply(x, self.weight, self.eps)


class Normalized(torch.autograd.Function):
    """The norm with half of autograd's passes over memory, keeping one number per row instead of three copies of x.

    For n = x · r, r = 1 / sqrt(mean(x²) + eps) and y = w · n:
    dx = r · (w g − n · mean(w g n)), dw = Σ g n over rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype).mul(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        normal = x.float() * scale
        product = normal * grad
        mean = torch.linalg.vecdot(product, weight.float()).div_(x.shape[-1]).unsqueeze(-1)
        x_grad = (grad.float() * weight).addcmul_(normal, mean, value=-1).mul_(scale)
        return x_grad.to(x.dtype), product.flatten(0, -2).sum(0).to(weight.dtype), None
