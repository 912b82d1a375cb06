"""The rows that need work, and the numbers per row that backward needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.stats import TokenStats


def kept_rows(targets: Tensor, ignore_index: int | None) -> Tensor | None:
    """Indices of the rows whose target is not `ignore_index`; None when these are all."""
    if ignore_index is None:
        return None
    mask = targets != ignore_index
    count = int(mask.sum())
    return None if count == len(targets) else torch.nonzero_static(mask, size=count).squeeze(1)


def scatter_rows(values: Tensor, index: Tensor | None, rows: int) -> Tensor:
    """`values` `[n, …]` at the rows `index` of `[rows, …]`, zeros elsewhere; None stands for all rows."""
    if index is None:
        return values
    return values.new_zeros(rows, *values.shape[1:]).index_copy_(0, index, values)


def row_scalars(statistics: Tensor, stats: TokenStats) -> Tensor:
    """`[3, rows]` row max, log-sum, entropy; with a reference `[6, rows]`, its row max and log-sum, and kl_reverse."""
    scalars = [statistics[0], statistics[1].log(), stats.entropy]
    if stats.kl_reverse is not None:
        scalars += [statistics[4], statistics[5].log(), stats.kl_reverse]
    return torch.stack(scalars)


@dataclass(kw_only=True, slots=True, frozen=True)
class Active:
    """Rows with a non-zero upstream gradient. NaN counts: it must reach the weights and be noticed."""

    index: Tensor | None  # [rows], None when these are all
    rows: int
    cached: int  # how many of them are among the first rows that a cache holds
    scalars: Tensor  # [5, rows]; [10, rows] when the gradient needs the reference; as `tile_gradient` takes them


def active_rows(
    upstream: tuple[Tensor | None, ...], tokens: int, kept: Tensor | None, scalars: Tensor, cached: int
) -> Active:
    """The rows that backward has to compute. `upstream` holds the gradients of all outputs, ref_logprob included;
    `scalars` are the `row_scalars` of the kept rows; `cached` counts the first rows that a cache holds.

    The host waits for the device once, for the counts.
    """
    logprob, entropy, *others = upstream
    gradients = [logprob, entropy, *others[1:]]
    if all(gradient is None for gradient in gradients[2:]):
        gradients = gradients[:2]
    packed = scalars.new_zeros(len(gradients), tokens)
    for row, gradient in zip(packed, gradients, strict=True):
        if gradient is not None:
            row.copy_(gradient)
    if kept is not None:
        packed = packed.index_select(1, kept)
    mask = (packed != 0).any(0)
    rows, first, with_reference = torch.stack(
        [mask.sum(), mask[:cached].sum(), (packed[2:] != 0).any().long()]
    ).tolist()
    index = None if rows == len(mask) else torch.nonzero_static(mask, size=rows).squeeze(1)
    parts = [scalars[:3], packed[:2]]
    if with_reference:
        parts += [scalars[3:], packed[2:]]
    joined = torch.cat(parts) if index is None else torch.cat(parts).index_select(1, index)
    return Active(index=index, rows=rows, cached=first, scalars=joined)
