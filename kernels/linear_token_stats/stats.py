"""What the implementations share: the result, the vocabulary shard and the online softmax statistics.

The statistics of a set of columns are four numbers per token, rows of one `[4, tokens]` tensor:

    top    = max s                     sum    = Σ exp(s − top)
    weighted = Σ exp(s − top)(s − top)   target = s_y, or −inf when y is not among the columns

Statistics of disjoint column sets merge exactly (`merge`), so tiles and tensor-parallel ranks are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

FAR = 1e4  # exp(−FAR) is zero in every dtype; bounds log-ratios so that 0 · (−inf) cannot become NaN


class TokenStats(NamedTuple):
    """Per token, fp32 (fp64 for fp64 inputs), natural logarithm, of softmax(hidden · weightᵀ / temperature)."""

    logprob: Tensor  # [tokens], of the target; ≤ 0
    entropy: Tensor  # [tokens], nats; ≥ 0


@dataclass(kw_only=True, slots=True, frozen=True)
class Shard:
    """The vocabulary columns `[start, start + size)` that this rank holds; padding columns are not counted."""

    start: int
    size: int
    group: ProcessGroup | None


def accumulation_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """fp32, or fp64 when an input is fp64."""
    return torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)


def no_columns(tokens: int, *, like: Tensor, dtype: torch.dtype) -> Tensor:
    """The neutral element of `merge`: `[4, tokens]` statistics of an empty set of columns."""
    statistics = torch.zeros(4, tokens, dtype=dtype, device=like.device)
    statistics[0] = torch.finfo(dtype).min
    statistics[3] = -torch.inf
    return statistics


def merge(left: Tensor, right: Tensor) -> Tensor:
    """Statistics `[4, tokens]` of the union of two disjoint column sets."""
    top = torch.maximum(left[0], right[0])
    left_shift = (left[0] - top).clamp_(min=-FAR)
    right_shift = (right[0] - top).clamp_(min=-FAR)
    left_scale, right_scale = left_shift.exp(), right_shift.exp()
    total = left_scale * left[1] + right_scale * right[1]
    weighted = left_scale * (left[2] + left_shift * left[1]) + right_scale * (right[2] + right_shift * right[1])
    return torch.stack((top, total, weighted, torch.maximum(left[3], right[3])))


def merge_over_group(statistics: Tensor, group: ProcessGroup | None) -> Tensor:
    """One all-gather, then the same merges in rank order everywhere: all ranks hold equal bits."""
    if group is None or group.size() == 1:
        return statistics
    gathered = torch.empty(group.size(), *statistics.shape, dtype=statistics.dtype, device=statistics.device)
    torch.distributed.all_gather(list(gathered.unbind()), statistics, group=group)
    merged = gathered[0]
    for rank in range(1, group.size()):
        merged = merge(merged, gathered[rank])
    return merged
