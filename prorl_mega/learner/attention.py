"""Causal attention over packed sequences, with the rotary positions applied on the way in.

Sequences of one micro-batch are laid end to end (`[tokens, heads, head_dim]`, no padding between them). On a GPU they
go to the variable-length flash kernel as they are. Elsewhere they are scattered into right-padded rectangles, one for
each power of two of the length, so that a pack of hundreds of sequences costs a handful of dense calls and at most
doubles its rows. Right padding is exact: a causal query never looks to its right.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from prorl_mega.learner.packed_sequences import PackedSequences
from prorl_mega.learner.rotary import Rotated, rotate

Mix = Callable[[Tensor, Tensor, Tensor], Tensor]


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
        query, key = rotate(query, packed, self.rotated), rotate(key, packed, self.rotated)
        if packed.owners is None and query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
            mixed = _variable_length(query, key, value, packed, self.scale)
        else:
            mixed = _dense(query, key, value, packed, self.mixed)
        return mixed.flatten(1)

    def rotated(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """`x` `[tokens, heads, rotary_dim]`, turned."""
        return Rotated.apply(x, cosines, sines)

    def mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Causal attention of `[sequences, heads, length, head_dim]`."""
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=self.scale, enable_gqa=query.size(1) != key.size(1)
        )


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


def _dense(query: Tensor, key: Tensor, value: Tensor, packed: PackedSequences, mix: Mix) -> Tensor:
    """One dense causal call per rectangle; returns `[tokens, heads, head_dim]`."""
    query, key, value = (_scatter(x, packed) for x in (query, key, value))
    mixed = []
    first = 0
    for count, length in packed.rectangles:
        rows = slice(first, first + count * length)
        q, k, v = (x[rows].unflatten(0, (count, length)).transpose(1, 2) for x in (query, key, value))
        mixed.append(mix(q, k, v).transpose(1, 2).flatten(0, 1))
        first = rows.stop
    rows_out = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
    return rows_out if packed.slots is None else rows_out.index_select(0, packed.slots)


def _scatter(x: Tensor, packed: PackedSequences) -> Tensor:
    """`[tokens, heads, head_dim]` to the rows of all rectangles; rows that no token owns hold anything finite."""
    if packed.owners is not None:
        return x.index_select(0, packed.owners)
    if packed.slots is None:
        return x
    rows = sum(count * length for count, length in packed.rectangles)
    return x.new_zeros(rows, *x.shape[1:]).index_copy(0, packed.slots, x)
