"""Causal attention over packed sequences, with the rotary positions applied on the way in.

Sequences of one micro-batch are laid end to end (`[tokens, heads, head_dim]`, no padding between them). On a GPU they
go to the variable-length flash kernel as they are. Elsewhere they are scattered into right-padded rectangles, one for
each power of two of the length, so that a pack of hundreds of sequences costs a handful of dense calls and at most
doubles its rows. Right padding is exact: a causal query never looks to its right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prorl_mega.families.family import Llama3Scaling, ModelDescription


@dataclass
class PackedSequences(PackedSeqParams):
    """The bounds of the sequences in a pack; computed once per micro-batch and shared by all layers."""

    positions: Tensor | None = None  # [tokens] int64, from 0 in every sequence
    rectangles: tuple[tuple[int, int], ...] = ()  # (sequences, padded length) of every dense call
    slots: Tensor | None = None  # [tokens] int64, row of each token in the rectangles; None: rows are tokens
    cosines: Tensor | None = None  # [tokens, 1, head_dim] fp32, filled in by the model; both halves are equal
    sines: Tensor | None = None  # [tokens, 1, head_dim] fp32, the first half with a minus sign

    @property
    def tokens(self) -> int:
        return len(self.positions) if self.positions is not None else 0


def pack_lengths(lengths: Sequence[int], *, multiple: int, device: torch.device) -> PackedSequences:
    """Describe a pack of sequences of these lengths, in this order.

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
    )


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


class RotaryPositions(nn.Module):
    """Cosines and sines of the rotary embedding, for plain and for Llama 3's frequency-dependent scaling."""

    def __init__(self, description: ModelDescription) -> None:
        super().__init__()
        exponents = torch.arange(0, description.head_dim, 2, dtype=torch.float32) / description.head_dim
        self.frequencies = 1.0 / description.rope_theta**exponents  # [head_dim / 2] radians per token
        if description.rope_scaling is not None:
            self.frequencies = _stretch(self.frequencies, description.rope_scaling)

    def forward(self, packed: PackedSequences) -> PackedSequences:
        """The same pack with `cosines` and `sines`; angles are fp32 whatever the model's precision is."""
        assert packed.positions is not None
        self.frequencies = self.frequencies.to(packed.positions.device)
        angles = torch.outer(packed.positions.float(), self.frequencies).unsqueeze(1)
        cosines, sines = angles.cos(), angles.sin()
        return replace(packed, cosines=torch.cat((cosines, cosines), -1), sines=torch.cat((-sines, sines), -1))


def _stretch(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Llama 3.1's rule: keep short wavelengths, divide long ones by `factor`, interpolate linearly in between.

    The kept share rises from 0 at `low_freq_factor` to 1 at `high_freq_factor` turns (rotations within the original
    context). Source: the reference implementation of Llama 3.1 (`apply_scaling`).
    """
    turns = scaling.original_max_positions * frequencies / (2 * torch.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return (1.0 - kept) * frequencies / scaling.factor + kept * frequencies


class _Rotated(torch.autograd.Function):
    """Rotate `[tokens, heads, head_dim]`: channel i forms a plane with channel i + head_dim / 2.

    The gradient is rotated back. Both take three passes over memory; autograd's gradient of slices takes ten.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        cosines, sines = cosines.to(x.dtype), sines.to(x.dtype)
        ctx.save_for_backward(cosines, sines)
        return torch.addcmul(x * cosines, x.roll(x.shape[-1] // 2, -1), sines)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return torch.addcmul(grad * cosines, grad.roll(grad.shape[-1] // 2, -1), sines, value=-1), None, None


class PackedAttention(nn.Module):
    """The `core_attention` of a Megatron layer: rotary positions, then causal attention within each sequence.

    No dropout, so it draws no random numbers; grouped-query heads are not copied.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        cp_comm_type: str | None = None,
        softmax_scale: float | None = None,
        pg_collection: ProcessGroupCollection | None = None,
    ) -> None:
        super().__init__()
        assert attn_mask_type is AttnMaskType.causal
        assert attention_type == "self"
        assert config.context_parallel_size == 1
        self.scale = softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: PackedSequences,
    ) -> Tensor:
        """`query` `[tokens, heads, head_dim]`, `key` and `value` `[tokens, kv_heads, head_dim]`, all local heads.

        Returns `[tokens, heads * head_dim]` in the dtype of `value`.
        """
        packed = packed_seq_params
        assert attention_mask is None
        assert packed.cosines is not None
        assert packed.sines is not None
        query = _Rotated.apply(query, packed.cosines, packed.sines)
        key = _Rotated.apply(key, packed.cosines, packed.sines)
        if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
            mixed = _variable_length(query, key, value, packed, self.scale)
        else:
            mixed = _dense(query, key, value, packed, self.scale)
        return mixed.flatten(1)


def _variable_length(query: Tensor, key: Tensor, value: Tensor, packed: PackedSequences, scale: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(
        query,
        key,
        value,
        packed.cu_seqlens_q,
        packed.cu_seqlens_kv,
        packed.max_seqlen_q,
        packed.max_seqlen_kv,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=query.size(1) != key.size(1),
    )


def _dense(query: Tensor, key: Tensor, value: Tensor, packed: PackedSequences, scale: float | None) -> Tensor:
    """One dense causal call per rectangle; returns `[tokens, heads, head_dim]`."""
    query, key, value = (_scatter(x, packed) for x in (query, key, value))
    mixed = []
    first = 0
    for count, length in packed.rectangles:
        rows = slice(first, first + count * length)
        q, k, v = (x[rows].unflatten(0, (count, length)).transpose(1, 2) for x in (query, key, value))
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=query.size(1) != key.size(1)
        )
        mixed.append(out.transpose(1, 2).flatten(0, 1))
        first = rows.stop
    rows_out = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
    return rows_out if packed.slots is None else rows_out.index_select(0, packed.slots)


def _scatter(x: Tensor, packed: PackedSequences) -> Tensor:
    """`[tokens, heads, head_dim]` to the rows of all rectangles; rows that no token owns are zero."""
    if packed.slots is None:
        return x
    rows = sum(count * length for count, length in packed.rectangles)
    return x.new_zeros(rows, *x.shape[1:]).index_copy(0, packed.slots, x)
