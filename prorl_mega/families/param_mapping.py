"""A Megatron parameter and the Hugging Face tensors that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from prorl_mega.families.shard_rules import ShardRule

if TYPE_CHECKING:
    from torch import Tensor


class Sliceable(Protocol):
    """A tensor, or a lazy slice of a safetensors file that reads what is asked for."""

    def __getitem__(self, index: Any, /) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ParamMapping:
    """The tensors of one parameter. A `copy` repeats another mapping's tensors: it is loaded but not exported."""

    name: str  # Megatron's, with the global number of the layer
    tensors: Mapping[str, tuple[int, ...]]  # Hugging Face name -> shape of the full tensor
    rule: ShardRule
    copy: bool = False

    def within_layer(self, layer: int) -> ParamMapping:
        """This mapping, named relative to a layer, as a mapping of the whole model."""
        tensors = {f"model.layers.{layer}.{name}": shape for name, shape in self.tensors.items()}
        return ParamMapping(f"decoder.layers.{layer}.{self.name}", tensors, self.rule, self.copy)

    def shard_shape(self, tensor_size: int, vocabulary_rows: int) -> tuple[int, ...]:
        """Shape of the parameter on each rank; `vocabulary_rows` are a rank's rows of a padded vocabulary."""
        first = next(iter(self.tensors.values()))
        if self.rule.padded:
            return (vocabulary_rows, *first[1:])
        shape = [sum(shape[0] for shape in self.tensors.values()), *first[1:]]
        if self.rule.axis is not None:
            shape[self.rule.axis] //= tensor_size
        return tuple(shape)

    def load(self, shard: Tensor, full: Mapping[str, Sliceable], tensor_rank: int, tensor_size: int) -> None:
        """Write one rank's part of the `full` Hugging Face tensors into its `shard`; nothing else of them is read."""
        for (name, shape), piece in zip(self.tensors.items(), self.rule.pieces(shard), strict=True):
            axis = self.rule.axis
            if axis is None:
                piece.copy_(full[name][:])
                continue
            extent = len(shard) if self.rule.padded else shape[axis] // tensor_size
            begin, end = (min(shape[axis], rank * extent) for rank in (tensor_rank, tensor_rank + 1))
            part = full[name][begin:end] if axis == 0 else full[name][:, begin:end]
            if self.rule.padded:
                piece[end - begin :].zero_()
                piece = piece[: end - begin]
            piece.copy_(part.reshape(piece.shape))

    def join(self, shards: Sequence[Tensor]) -> dict[str, Tensor]:
        """The full Hugging Face tensors from the shards of all ranks, without padding; the inverse of `load`."""
        axis = self.rule.axis
        by_tensor = zip(*(self.rule.pieces(shard) for shard in shards), strict=True)
        full = {}
        for (name, shape), pieces in zip(self.tensors.items(), by_tensor, strict=True):
            if axis is None:
                full[name] = pieces[0].reshape(shape)
                continue
            full[name] = pieces[0].new_empty(shape)
            begin, local = 0, [*shape]
            local[axis] = -1
            for piece in pieces:
                part = piece.reshape(local)
                extent = min(part.shape[axis], shape[axis] - begin)
                full[name].narrow(axis, begin, extent).copy_(part.narrow(axis, 0, extent))
                begin += extent
        return full
