"""Log-probabilities of all ids from logits that are there already, with the bits of `linear_token_stats`."""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.chunked import tile_size
from prorl_kernels.linear_token_stats.stats import PLAIN, empty_statistics, merge
from prorl_kernels.linear_token_stats.tiles import tile_statistics


def log_probabilities(scaled: Tensor, valid_vocab: int) -> Tensor:
    """`scaled` `[rows, columns]` fp32 are logits / T; returns `[rows, columns]`, −inf from `valid_vocab` on.

    Row by row what `linear_token_stats` has for that target on a CPU: the same tiles, merged in the same order.
    """
    width = tile_size(dtype=scaled.dtype, has_reference=False, has_softcap=False).columns
    targets = torch.zeros(len(scaled), dtype=torch.int64)
    total = empty_statistics(len(scaled), rows=PLAIN, dtype=scaled.dtype, device=scaled.device)
    for first in range(0, valid_vocab, width):
        columns = scaled[:, first : min(first + width, valid_vocab)].clone(memory_format=torch.contiguous_format)
        tile = tile_statistics(columns, targets, None, None, None, columns.shape[1])
        total = tile if first == 0 else merge(total, tile)
    row_max, log_sum = total[0].unsqueeze(1), total[1].log().unsqueeze(1)
    found = torch.full_like(scaled, -torch.inf)
    found[:, :valid_vocab] = (scaled[:, :valid_vocab] - row_max).sub_(log_sum).clamp_(max=0.0)
    return found
