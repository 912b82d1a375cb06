"""Functions that the Triton kernels share: exponentials, the scaling of raw logits and the gradient of the logits.

Everything is in natural units and fp32. Differences are taken before they are multiplied by log2(e), so that logits of
±10⁴ lose no digits. They are bounded below by −MAX_LOG_RATIO, so that 0 · (−inf) cannot become NaN; a NaN stays one.
"""

# mypy: allow-untyped-defs
# (device functions take what Triton passes)
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_LOG_RATIO = tl.constexpr(1e4)  # exp(−MAX_LOG_RATIO) is zero
LOWEST = tl.constexpr(-3.4028234663852886e38)  # a maximum starts here: finite, and below every finite logit
LOG2E = tl.constexpr(1.4426950408889634)

# Every launch gets these. A compiler that may fuse products and sums picks one of two products to fuse by where they
# stand, and the bits of a row then depend on its place in the tile (seen with a reference). So nothing is fused.
LAUNCH_OPTIONS = {"enable_fp_fusion": False}


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Send launches inside to the GPU that holds `tensor`; does nothing for tensors of the CPU (interpreter)."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@triton.jit
def bounded(difference):
    """`difference`, at least −MAX_LOG_RATIO; NaN stays NaN."""
    return tl.maximum(difference, -MAX_LOG_RATIO, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def exponential(x):
    return tl.exp2(x * LOG2E)


@triton.jit
def scaled(logits, inverse_temperature, softcap, HAS_TEMPERATURE: tl.constexpr, HAS_SOFTCAP: tl.constexpr):
    """softcap · tanh(logits / softcap) · inverse_temperature."""
    if HAS_SOFTCAP:
        decay = exponential(tl.abs(logits) * (-2.0 / softcap))
        capped = softcap * ((1.0 - decay) / (1.0 + decay))
        logits = tl.where(logits < 0, -capped, capped)
    if HAS_TEMPERATURE:
        logits = logits * inverse_temperature
    return logits


@triton.jit
def scale_derivative(logits, inverse_temperature, softcap, HAS_TEMPERATURE: tl.constexpr, HAS_SOFTCAP: tl.constexpr):
    """Derivative of `scaled` in the raw logits; 1 − tanh² as 4e^(−2x) / (1 + e^(−2x))², which does not cancel."""
    derivative = tl.full(logits.shape, 1.0, tl.float32)
    if HAS_SOFTCAP:
        decay = exponential(tl.abs(logits) * (-2.0 / softcap))
        derivative = 4.0 * decay / ((1.0 + decay) * (1.0 + decay))
    if HAS_TEMPERATURE:
        derivative = derivative * inverse_temperature
    return derivative


@triton.jit
def logits_gradient(scores, is_target, row_max, log_sum, entropy, d_logprob, d_entropy):
    """dL/ds = p (−g_logprob − g_entropy (log p + H)) + g_logprob [target]."""
    # two subtractions: row_max + log_sum would round log_sum away when the logits are large
    logprobs = bounded(scores - row_max - log_sum)
    factor = -d_logprob - d_entropy * (logprobs + entropy)
    return exponential(logprobs) * factor + tl.where(is_target, d_logprob, 0.0)


@triton.jit
def logits_gradient_with_reference(
    scores,
    ref_scores,
    is_target,
    row_max,
    log_sum,
    entropy,
    d_logprob,
    d_entropy,
    ref_max,
    ref_log_sum,
    kl_reverse,
    d_kl_reverse,
    d_kl_forward,
):
    """dL/ds as in `logits_gradient` + p (g_reverse (log p − log q − KL_reverse) + g_forward) − g_forward q."""
    logprobs = bounded(scores - row_max - log_sum)
    ref_logprobs = bounded(ref_scores - ref_max - ref_log_sum)
    factor = -d_logprob - d_entropy * (logprobs + entropy)
    factor += d_kl_reverse * (logprobs - ref_logprobs - kl_reverse) + d_kl_forward
    gradient = exponential(logprobs) * factor - d_kl_forward * exponential(ref_logprobs)
    return gradient + tl.where(is_target, d_logprob, 0.0)
