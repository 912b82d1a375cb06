"""The result, the statistics of a set of columns and how they merge; shared by all implementations.

The statistics of a set of columns are rows of one `[4, tokens]` tensor, or `[9, tokens]` with a reference (s and r are
the scaled logits of policy and reference):

    0 row_max m = max s          1 row_sum l = Σe^(s−m)     2 entropy_sum Σe^(s−m)(s−m)
    3 target s_y, −inf when y is elsewhere
    4 ref_max m_r = max r        5 ref_sum l_r = Σe^(r−m_r)     6 ref_target r_y
    7 kl_reverse_sum Σe^(s−m)((s−m)−(r−m_r))                8 kl_forward_sum Σe^(r−m_r)((r−m_r)−(s−m))

Statistics of disjoint column sets merge exactly (`merge`), so tiles and tensor-parallel ranks are treated alike.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_LOG_RATIO = 1e4  # exp(−MAX_LOG_RATIO) is 0 in every dtype; with this bound 0 · (−inf) cannot become NaN

PLAIN, WITH_REFERENCE = 4, 9  # rows of statistics


class TokenStats(NamedTuple):
    """Statistics of p = softmax(softcap(hidden · weightᵀ) / T) per token: fp32 (fp64 for fp64 inputs), in nats.

    The last three are present when a reference distribution q is given.
    """

    logprob: Tensor  # [tokens], log p of the target; ≤ 0
    entropy: Tensor  # [tokens], nats; ≥ 0
    ref_logprob: Tensor | None = None  # [tokens], log q of the target; not differentiable
    kl_reverse: Tensor | None = None  # [tokens], KL(p‖q) = Σ p (log p − log q); ≥ 0
    kl_forward: Tensor | None = None  # [tokens], KL(q‖p) = Σ q (log q − log p); ≥ 0


def accumulation_dtype(*tensors: Tensor | None) -> torch.dtype:
    """fp32, or fp64 when an input is fp64."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def empty_statistics(tokens: int, *, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The neutral element of `merge`: statistics `[rows, tokens]` of an empty set of columns."""
    statistics = torch.zeros(rows, tokens, dtype=dtype, device=device)
    for row_max, target in ((0, 3), (4, 6))[: 1 + (rows == WITH_REFERENCE)]:
        statistics[row_max] = torch.finfo(dtype).min
        statistics[target] = -torch.inf
    return statistics


def merge(left: Tensor, right: Tensor) -> Tensor:
    """Statistics `[4 | 9, tokens]` of the union of two disjoint column sets."""
    row_max, scales, shifts = _rescale(left[0], right[0])
    sides = (left, right)
    row_sum = _blend(scales, [side[1] for side in sides])
    entropy_sum = _blend(scales, [side[2] + shift * side[1] for side, shift in zip(sides, shifts, strict=True)])
    target = torch.maximum(left[3], right[3])
    if len(left) == PLAIN:
        return torch.stack((row_max, row_sum, entropy_sum, target))
    ref_max, ref_scales, ref_shifts = _rescale(left[4], right[4])
    gaps = [shift - ref_shift for shift, ref_shift in zip(shifts, ref_shifts, strict=True)]
    ref_sum = _blend(ref_scales, [side[5] for side in sides])
    kl_reverse_sum = _blend(scales, [side[7] + gap * side[1] for side, gap in zip(sides, gaps, strict=True)])
    kl_forward_sum = _blend(ref_scales, [side[8] - gap * side[5] for side, gap in zip(sides, gaps, strict=True)])
    ref_target = torch.maximum(left[6], right[6])
    policy = (row_max, row_sum, entropy_sum, target)
    return torch.stack((*policy, ref_max, ref_sum, ref_target, kl_reverse_sum, kl_forward_sum))


def _rescale(left: Tensor, right: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The common maximum of two sets, and for each set the factor e^shift and the shift that take it there."""
    row_max = torch.maximum(left, right)
    shifts = [(side - row_max).clamp_(min=-MAX_LOG_RATIO) for side in (left, right)]
    return row_max, [shift.exp() for shift in shifts], shifts


def _blend(scales: list[Tensor], values: list[Tensor]) -> Tensor:
    return scales[0] * values[0] + scales[1] * values[1]


def results(statistics: Tensor) -> TokenStats:
    """The results from statistics of the whole vocabulary, clamped to their bounds, which only rounding can cross."""
    row_max, row_sum, entropy_sum, target = statistics[:PLAIN].unbind()
    log_sum = row_sum.log()
    logprob = ((target - row_max) - log_sum).clamp_(max=0.0)
    entropy = (log_sum - entropy_sum / row_sum).clamp_(min=0.0)
    if len(statistics) == PLAIN:
        return TokenStats(logprob, entropy)
    ref_max, ref_sum, ref_target, kl_reverse_sum, kl_forward_sum = statistics[PLAIN:].unbind()
    ref_log_sum = ref_sum.log()
    return TokenStats(
        logprob,
        entropy,
        ref_logprob=((ref_target - ref_max) - ref_log_sum).clamp_(max=0.0),
        kl_reverse=(kl_reverse_sum / row_sum - log_sum + ref_log_sum).clamp_(min=0.0),
        kl_forward=(kl_forward_sum / ref_sum - ref_log_sum + log_sum).clamp_(min=0.0),
    )
