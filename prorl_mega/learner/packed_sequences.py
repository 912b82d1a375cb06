"""The bounds of the sequences in a pack, for attention on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor


@dataclass
class PackedSequences(PackedSeqParams):
    """The bounds of the sequences in a pack; computed once per micro-batch and shared by all layers."""

    positions: Tensor | None = None  # [tokens] int64, from 0 in every sequence
    rectangles: tuple[tuple[int, int], ...] = ()  # (sequences, padded length) of every dense call
    slots: Tensor | None = None  # [tokens] int64, row of each token in the rectangles; None: rows are tokens
    owners: Tensor | None = None  # [rows] int64, token of each row of the rectangles; None: no token has several
    cosines: Tensor | None = None  # [tokens, 1, rotary_dim] fp32, filled in by the model; both halves are equal
    sines: Tensor | None = None  # [tokens, 1, rotary_dim] fp32, the first half with a minus sign

    @property
    def tokens(self) -> int:
        return len(self.positions) if self.positions is not None else 0


def pack_lengths(
    lengths: Sequence[int], *, multiple: int, device: torch.device, sources: Tensor | None = None
) -> PackedSequences:
    """Describe a pack of sequences of these lengths, in this order.

    With `sources`, `[sum of lengths]` int64, sequences may own tokens together: the token of each of their inputs. A
    token has the same position in all sequences that own it, and the same tokens before it.

    The number of tokens is rounded up to `multiple` (sequence parallelism splits the pack between the tensor-parallel
    ranks) by a trailing sequence of padding, which no real token can see.
    """
    assert len(lengths) > 0, "a pack holds at least one sequence"
    assert min(lengths) > 0, "no sequence of a pack is empty"
    padding = -sum(lengths) % multiple
    sizes = torch.tensor([*lengths, padding] if padding else list(lengths))
    ends = sizes.cumsum(0)
    positions = torch.arange(int(ends[-1])) - (ends - sizes).repeat_interleave(sizes)
    rectangles, slots = _rectangles(sizes, positions)
    owners = None
    if sources is not None:
        assert len(sources) == len(positions), "a source for every input of every sequence"
        positions, slots, owners = _shared(sources.cpu(), positions, slots, rectangles)
    boundaries = F.pad(ends, (1, 0)).to(device=device, dtype=torch.int32)
    longest = int(sizes.max())
    return PackedSequences(
        qkv_format="thd",
        cu_seqlens_q=boundaries,
        cu_seqlens_kv=boundaries,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        positions=positions.to(device),
        rectangles=rectangles,
        slots=None if slots is None else slots.to(device),
        owners=None if owners is None else owners.to(device),
    )


def _shared(
    sources: Tensor, positions: Tensor, slots: Tensor | None, rectangles: tuple[tuple[int, int], ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and slots of tokens that several sequences own, from those of all inputs; the owner of each row.

    The result of a token is read in the first sequence that owns it; it is the same in all of them.
    """
    if slots is None:
        slots = torch.arange(len(positions))
    first = torch.from_numpy(np.unique(sources.numpy(), return_index=True)[1])
    owners = torch.zeros(
        sum(count * length for count, length in rectangles), dtype=torch.int64
    )  # rows of padding show token 0, and nobody looks
    owners[slots] = sources
    return positions[first], slots[first], owners


def _rectangles(sizes: Tensor, positions: Tensor) -> tuple[tuple[tuple[int, int], ...], Tensor | None]:
    """Group sequences whose lengths lie between the same powers of two; see `PackedSequences` for what comes back."""
    group_of = torch.tensor([(length - 1).bit_length() for length in sizes.tolist()])
    first_row = torch.empty_like(sizes)
    rectangles = []
    rows = 0
    for group in sorted(set(group_of.tolist())):
        members = (group_of == group).nonzero().squeeze(1)
        length = int(sizes[members].max())
        first_row[members] = rows + length * torch.arange(len(members))
        rectangles.append((len(members), length))
        rows += length * len(members)
    slots = first_row.repeat_interleave(sizes) + positions
    identity = rows == len(slots) and bool((slots == torch.arange(rows)).all())
    return tuple(rectangles), None if identity else slots
