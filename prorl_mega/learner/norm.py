"""RMSNorm with Hugging Face's arithmetic and Megatron's bookkeeping."""

from __future__ import annotations

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn


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
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)
