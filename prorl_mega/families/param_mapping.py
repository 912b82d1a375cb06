"""A Megatron parameter and the Hugging Face tensors that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from prorl_mega.families.shard_rules import ShardRule
from prorl_mega.types import ParallelLayout

if TYPE_CHECKING:
    from torch import Tensor


def is_of_expert(name: str) -> bool:
    """Whether a parameter, by its Megatron name, belongs to one expert of a mixture."""
    return ".experts." in name


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
    stored: str | None = None  # the one tensor that a checkpoint stores the `tensors` in, one below the other
    expert: int | None = None  # of a mixture, to which it belongs; experts are cut by their own parallelism

    def within_layer(self, layer: int) -> ParamMapping:
        """This mapping, named relative to a layer, as a mapping of the whole model."""
        prefix = f"model.layers.{layer}."
        tensors = {prefix + name: shape for name, shape in self.tensors.items()}
        stored = self.stored and prefix + self.stored
        return replace(self, name=f"decoder.layers.{layer}.{self.name}", tensors=tensors, stored=stored)

    @property
    def checkpoint_tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of what a Hugging Face checkpoint has for this parameter."""
        return dict(self.tensors) if self.stored is None else {self.stored: self._full_shape()}

    def place(self, layout: ParallelLayout) -> tuple[int, int]:
        """The rank and the number of the ranks that cut this parameter."""
        if self.expert is None:
            return layout.tensor_rank, layout.tensor_size
        return layout.experts.tensor_rank, layout.experts.tensor_size

    def shard_shape(self, tensor_size: int, vocabulary_rows: int) -> tuple[int, ...]:
        """Shape of the parameter on each rank; `vocabulary_rows` are a rank's rows of a padded vocabulary."""
        shape = [*self._full_shape()]
        if self.rule.padded:
            shape[0] = vocabulary_rows
        elif self.rule.axis is not None:
            shape[self.rule.axis] //= tensor_size
        return tuple(shape)

    def load(self, shard: Tensor, full: Mapping[str, Sliceable], tensor_rank: int, tensor_size: int) -> None:
        """Write one rank's part of the `full` checkpoint tensors into its `shard`; nothing else of them is read,
        unless ranks divide the rows of the parameter."""
        if not self.rule.splits(tensor_size):
            whole = shard.new_empty(self._full_shape())
            self.load(whole, full, 0, 1)
            shard.copy_(whole.chunk(tensor_size)[tensor_rank])
            return
        full = self._apart(full)
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
        """The full checkpoint tensors from the shards of all ranks, without padding; the inverse of `load`."""
        if not self.rule.splits(len(shards)):
            whole = shards[0].new_empty(self._full_shape())
            for shard, room in zip(shards, whole.chunk(len(shards)), strict=True):
                room.copy_(shard)
            return self.join([whole])
        axis = self.rule.axis
        by_tensor = zip(*(self.rule.pieces(shard) for shard in shards), strict=True)
        whole = None if self.stored is None else shards[0].new_empty(self._full_shape())
        full, first = {}, 0
        for (name, shape), pieces in zip(self.tensors.items(), by_tensor, strict=True):
            if axis is None:
                full[name] = pieces[0].reshape(shape)
                continue
            full[name] = pieces[0].new_empty(shape) if whole is None else whole[first : first + shape[0]]
            first += shape[0]
            begin = 0
            for piece in pieces:
                extent = min(len(piece), shape[0] - begin) if self.rule.padded else shape[axis] // len(shards)
                room = full[name].narrow(axis, begin, extent)
                part = piece[:extent] if self.rule.padded else piece
                room.view(part.shape).copy_(part) if axis == 0 else room.copy_(part)
                begin += extent
        return full if self.stored is None or whole is None else {self.stored: whole}

    def _full_shape(self) -> tuple[int, ...]:
        shapes = list(self.tensors.values())
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def _apart(self, full: Mapping[str, Sliceable]) -> Mapping[str, Sliceable]:
        """The `tensors` from what a checkpoint stores."""
        if self.stored is None:
            return full
        parts, begin = {}, 0
        for name, shape in self.tensors.items():
            parts[name] = _Rows(full[self.stored], begin, begin + shape[0])
            begin += shape[0]
        return parts


class _Rows:
    """Rows `begin` to `end` of a tensor; sliced along the first dimension only."""

    def __init__(self, whole: Sliceable, begin: int, end: int) -> None:
        self._whole, self._begin, self._end = whole, begin, end

    def __getitem__(self, index: slice, /) -> Tensor:
        begin, end, _ = index.indices(self._end - self._begin)
        return self._whole[self._begin + begin : self._begin + end]
