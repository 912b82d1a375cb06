"""The part of the vocabulary that a rank holds, and the messages between the ranks of a tensor-parallel group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from prorl_kernels.linear_token_stats.stats import merge

_SEEN: set[tuple[str, int, int, int]] = set()
"""Shards on GPUs whose neighbours have been checked: reading their ranges makes the host wait for the device."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Shard:
    """The vocabulary ids `[start, start + rows)`; those from `valid` on are padding and are not counted."""

    start: int
    rows: int  # with padding
    valid: int | None  # ids of the whole vocabulary; None when all rows of all ranks are real
    group: ProcessGroup | None

    @property
    def size(self) -> int:
        """Real columns on this rank."""
        return self.rows if self.valid is None else min(self.rows, max(0, self.valid - self.start))

    @property
    def ranks(self) -> int:
        return 1 if self.group is None else self.group.size()


def merge_over_group(statistics: Tensor, shard: Shard) -> Tensor:
    """The statistics of all ranks: one all-gather, then the same merges in rank order, so all ranks hold equal bits.

    Every rank's range of ids is sent along. Raises ValueError when they do not follow each other.
    """
    group = shard.group
    if group is None or shard.ranks == 1:
        return statistics
    packed = statistics.new_empty(statistics.numel() + 3)
    packed[:-3] = statistics.reshape(-1)
    for place, number in zip((-3, -2, -1), _numbers(shard), strict=True):
        packed[place] = float(number)  # exact: no vocabulary has 2²⁴ ids
    gathered = packed.new_empty(shard.ranks * len(packed))
    torch.distributed.all_gather_into_tensor(gathered, packed, group=group)
    parts = gathered.view(shard.ranks, -1)
    _check_ranges(parts[:, -3:], shard)
    first, *others = (part[:-3].view_as(statistics) for part in parts)
    for other in others:
        first = merge(first, other)
    return first


def _numbers(shard: Shard) -> tuple[int, int, int]:
    return shard.start, shard.rows, -1 if shard.valid is None else shard.valid


def _check_ranges(numbers: Tensor, shard: Shard) -> None:
    assert shard.group is not None
    key = (shard.group.group_name, *_numbers(shard))
    if numbers.is_cuda and key in _SEEN:
        return
    ranges = [tuple(int(number) for number in rank) for rank in numbers.tolist()]
    held = ", ".join(f"[{start}, {start + rows})" for start, rows, _ in ranges)
    end = 0
    for start, rows, _ in ranges:
        if start != end:
            raise ValueError(
                f"the ranks of tensor_group hold the vocabulary ids {held}: each range must begin where the one before "
                "it ends, the first one at 0; set vocab_start to the global id of the first row of weight"
            )
        end += rows
    valid = {each for _, _, each in ranges}
    if len(valid) > 1:
        raise ValueError(f"valid_vocab differs between the ranks of tensor_group: {[each for _, _, each in ranges]}")
    if max(valid) > end:
        raise ValueError(f"the ranks of tensor_group hold the vocabulary ids {held}, but valid_vocab={max(valid)}")
    if numbers.is_cuda:
        _SEEN.add(key)


def gather_tokens(part: Tensor, shard: Shard) -> Tensor:
    """`[tokens, d]` from every rank's `[tokens / ranks, d]`."""
    if shard.ranks == 1:
        return part
    whole = part.new_empty(shard.ranks * len(part), part.shape[1])
    torch.distributed.all_gather_into_tensor(whole, part.contiguous(), group=shard.group)
    return whole


def start_sum(partial: Tensor, shard: Shard, *, scatter: bool) -> Callable[[], Tensor]:
    """Begin to sum `partial` `[rows, d]` over the ranks; the result waits for the sum.

    The sum is made in place, or with `scatter` every rank gets its own `[rows / ranks, d]` of it.
    """
    if shard.ranks == 1 or not len(partial):  # ranks agree on the rows: a part without rows needs no message
        return lambda: partial
    total = partial
    if scatter:
        total = partial.new_empty(len(partial) // shard.ranks, partial.shape[1])
        work = torch.distributed.reduce_scatter_tensor(total, partial, group=shard.group, async_op=True)
    else:
        work = torch.distributed.all_reduce(partial, group=shard.group, async_op=True)

    def finish() -> Tensor:
        work.wait()
        return total

    return finish
