"""RMSNorm whose rows do not know each other."""

from __future__ import annotations

from torch import Tensor


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """`1 / sqrt(mean(x²) + eps)` over the last dimension of fp32 `[..., hidden]`: `[..., 1]`."""
    return (x * x).sum(-1, keepdim=True).div_(x.shape[-1]).add_(eps).sqrt_().reciprocal_()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`weight * x / sqrt(mean(x²) + eps)` over the last dimension, `[..., hidden]`."""
    return (x * inverse_rms(x, eps)).mul_(weight)
