"""Resharding: full Hugging Face tensors on every rank from live Megatron shards, a bucket at a time.

Each tensor is cut into equal pieces by the ranks of a tensor-parallel group, and belongs to one pipeline stage. A
bucket holds tensors of one stage as `[tensor ranks, elements]`. The owning stage packs its pieces, every tensor rank
hands its row of the bucket to its peers on the other stages (broadcast), and then each tensor-parallel group completes
the bucket (all-gather): two collectives per bucket, and the pipeline's links carry every element once per rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from prorl_mega.errors import ModelError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.types import ParallelLayout


def stream_weights(
    parameters: Mapping[str, Tensor],
    description: ModelDescription,
    layout: ParallelLayout,
    *,
    tensor_group: ProcessGroup | None,
    pipeline_group: ProcessGroup | None,
    experts_group: ProcessGroup | None = None,
    bucket_bytes: int,
) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, full tensor) of the whole model, on every rank and in the same order on all of them.

    `parameters` are this rank's live shards by Megatron name with global layer numbers, all of one dtype; a group of
    one rank may be None. All ranks of the groups have to consume the stream to its end. Beyond the shard, and beside
    what the consumer keeps, it holds at most one bucket: `max(bucket_bytes, bytes of the largest tensor)`, padding of
    the vocabulary included, and twice the largest parameter where shards are joined before they are taken apart (fused
    tensors, more tensor ranks than key/value heads). With one tensor rank and one stage tensors are views of the shard.

    A yielded tensor is the consumer's to keep until the parameters change and may be non-contiguous; it must not be
    written to. Rows of the padded vocabulary never appear.
    """
    registry = MappingRegistry(description)
    # Detached, so that no gradient is recorded. (`torch.no_grad` on a generator would keep the last tensor alive.)
    shards = {registry.mapping(name).name: parameter.detach() for name, parameter in parameters.items()}
    dtypes = {shard.dtype for shard in shards.values()}
    assert len(dtypes) == 1, f"parameters of one dtype can be streamed, not {dtypes}"
    experts = layout.experts
    if layout.tensor_size == layout.pipeline_size == experts.size == experts.tensor_size == 1:
        for mapping in registry.exported:
            shard = _owned(shards, mapping)
            if mapping.stored is not None:
                yield from mapping.join([shard]).items()
                continue
            pieces = mapping.rule.pieces(shard)
            for (name, shape), piece in zip(mapping.tensors.items(), pieces, strict=True):
                yield name, piece.reshape(-1, *shape[1:])[: shape[0]]
        return
    exchange = _Exchange(shards, layout, tensor_group, pipeline_group, experts_group)
    plan = exchange.pieces(_with_siblings(registry, experts.size))
    for bucket in _buckets(plan, bucket_bytes // dtypes.pop().itemsize):
        yield from exchange.run(bucket)


_Siblings = tuple[ParamMapping, ...]
"""A parameter: one mapping, or those of the experts that stand at the same place in each of the groups that share them,
in the order of the groups: each rank has one of these."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of one rank in one Hugging Face tensor, or its whole shard where the shards have to be joined first.

    Experts at the same place in their groups are one piece with several names."""

    siblings: _Siblings
    index: int | None  # among the mapping's tensors; None: the shard
    names: tuple[str, ...]  # one for each sibling
    ways: int  # ranks that divide each tensor
    rows: int  # of the full tensor, without padding
    shape: tuple[int, ...]  # of the piece, the divided dimension first
    axis: int | None  # the divided dimension; None: every rank has the whole tensor
    stage: int

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def is_of_experts(self) -> bool:
        return self.siblings[0].expert is not None

    @property
    def ranks(self) -> int:
        """The ranks that exchange it."""
        return self.ways * len(self.siblings)


def _with_siblings(registry: MappingRegistry, groups: int) -> list[_Siblings]:
    """The parameters to stream when `groups` share the experts, in Hugging Face order of those of the first group."""
    each = registry.experts // groups
    by_place: dict[tuple[str, int], list[ParamMapping]] = {}
    for mapping in registry.exported:
        if mapping.expert is None:
            by_place[mapping.name, 0] = [mapping]
        else:
            pattern = mapping.name.replace(f".{mapping.expert}.linear", ".*.linear")
            by_place.setdefault((pattern, mapping.expert % each), []).append(mapping)
    return [tuple(mappings) for mappings in by_place.values()]


def _buckets(pieces: Sequence[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """Consecutive pieces of one stage that the same ranks exchange. A bucket of several needs room for one assembled
    tensor as well."""
    limit = max(limit, max(piece.elements * piece.ranks for piece in pieces))
    bucket: list[_Piece] = []
    for piece in pieces:
        sizes = [each.elements for each in (*bucket, piece)]
        full = sum(sizes) * piece.ranks + max(sizes) * piece.ways > limit
        apart = bucket and (piece.stage, piece.is_of_experts) != (bucket[0].stage, bucket[0].is_of_experts)
        if bucket and (apart or full):
            yield bucket
            bucket = []
        bucket.append(piece)
    yield bucket


class _Exchange:
    """The collectives of one stream."""

    def __init__(
        self,
        shards: Mapping[str, Tensor],
        layout: ParallelLayout,
        tensor_group: ProcessGroup | None,
        pipeline_group: ProcessGroup | None,
        experts_group: ProcessGroup | None,
    ) -> None:
        self._shards = shards
        self._layout = layout
        self._tensor_group = tensor_group
        self._pipeline_group = pipeline_group
        self._experts_group = experts_group
        self._like = next(iter(shards.values()))  # dtype and device of everything that is sent

    def pieces(self, parameters: Sequence[_Siblings]) -> list[_Piece]:
        """The plan, identical on all ranks; the ranks exchange which stage owns each parameter."""
        own = [self._own(siblings) for siblings in parameters]
        stages, vocabulary_rows = self._owners(own)
        plan = []
        for siblings, mapping, stage in zip(parameters, own, stages, strict=True):
            size = mapping.place(self._layout)[1]
            if mapping.stored is not None or not mapping.rule.splits(size):
                shape = mapping.shard_shape(size, vocabulary_rows)
                plan.append(_Piece(siblings, None, (mapping.name,), size, shape[0] * size, shape, 0, stage))
                continue
            for index, shape in enumerate(mapping.tensors.values()):
                axis = mapping.rule.axis if size > 1 else 0
                piece = shape if axis is None else (shape[axis] // size, *shape[:axis], *shape[axis + 1 :])
                if mapping.rule.padded:
                    piece = (vocabulary_rows, *shape[1:])
                names = tuple(list(sibling.tensors)[index] for sibling in siblings)
                plan.append(_Piece(siblings, index, names, size, shape[0], piece, axis, stage))
        return plan

    def _own(self, siblings: _Siblings) -> ParamMapping:
        """The mapping of the parameter that this rank has, if its stage has one."""
        return siblings[self._layout.experts.rank if len(siblings) > 1 else 0]

    def run(self, bucket: Sequence[_Piece]) -> Iterator[tuple[str, Tensor]]:
        """Exchange one bucket and yield its tensors. The bucket is released when the last one has been taken."""
        layout, first = self._layout, bucket[0]
        experts = layout.experts
        rank, group = layout.tensor_rank, self._tensor_group
        if first.is_of_experts:
            rank, group = experts.rank * experts.tensor_size + experts.tensor_rank, self._experts_group
        buffer = self._like.new_empty(first.ranks, sum(piece.elements for piece in bucket))
        own = buffer[rank]
        if layout.pipeline_rank == first.stage:
            self._pack(bucket, own)
        if layout.pipeline_size > 1:
            dist.broadcast(own, group=self._pipeline_group, group_src=first.stage)
        if first.ranks > 1:
            dist.all_gather_into_tensor(buffer.view(-1), own, group=group)
        if len(bucket) == len(first.names) == 1 and first.index is not None:
            yield first.names[0], _view(buffer, first)
            return
        offset = 0
        for piece in bucket:
            columns = buffer[:, offset : offset + piece.elements]
            if piece.index is None:
                yield from piece.siblings[0].join(_shards(columns, piece)).items()
            else:
                for name, rows in zip(piece.names, columns.split(piece.ways), strict=True):
                    yield name, _copy(rows, piece)
            offset += piece.elements

    def _pack(self, bucket: Sequence[_Piece], own: Tensor) -> None:
        offset = 0
        for piece in bucket:
            mapping = self._own(piece.siblings)
            source = self._shards[mapping.name]
            if piece.index is not None:
                source = mapping.rule.pieces(source)[piece.index].movedim(piece.axis or 0, 0)
            own[offset : offset + piece.elements].view(source.shape).copy_(source)
            offset += piece.elements

    def _owners(self, mappings: Sequence[ParamMapping]) -> tuple[list[int], int]:
        """The (first) stage that holds each parameter, and the rows of a rank's shard of the padded vocabulary."""
        nobody = self._layout.pipeline_size
        stages = [self._layout.pipeline_rank if mapping.name in self._shards else nobody for mapping in mappings]
        padded = [
            self._shards[mapping.name].shape[0]
            for mapping in mappings
            if mapping.rule.padded and mapping.name in self._shards
        ]
        facts = torch.tensor([*stages, -max(padded, default=0)], device=self._like.device)
        if self._layout.pipeline_size > 1:
            dist.all_reduce(facts, op=dist.ReduceOp.MIN, group=self._pipeline_group)
        *stages, vocabulary_rows = facts.tolist()
        for mapping, stage in zip(mappings, stages, strict=True):
            if stage == nobody:
                raise ModelError(f"no pipeline stage of the model has the parameter {mapping.name!r}")
        return stages, -vocabulary_rows


def _view(buffer: Tensor, piece: _Piece) -> Tensor:
    """The only tensor of a bucket, as a view."""
    by_rank = buffer.view(-1, *piece.shape)
    if piece.axis is None:
        return by_rank[0]
    return by_rank.flatten(0, 1).movedim(0, piece.axis)[: piece.rows]


def _copy(columns: Tensor, piece: _Piece) -> Tensor:
    """One of several tensors of a bucket, `columns` of it, as a tensor that does not keep the bucket alive."""
    by_rank = columns.view(-1, *piece.shape)
    if piece.axis is None:
        return by_rank[0].clone()
    size, extent, *others = by_rank.shape
    full = columns.new_empty(*others[: piece.axis], size * extent, *others[piece.axis :])
    full.movedim(piece.axis, 0).unflatten(0, (size, extent)).copy_(by_rank)
    return full[: piece.rows]


def _shards(columns: Tensor, piece: _Piece) -> list[Tensor]:
    """The shards of all ranks, or the whole parameter where these are its rows."""
    if piece.siblings[0].rule.splits(len(columns)):
        return [row.view(piece.shape) for row in columns]
    return [columns.reshape(-1, *piece.shape[1:])]


def _owned(shards: Mapping[str, Tensor], mapping: ParamMapping) -> Tensor:
    if mapping.name not in shards:
        raise ModelError(f"the model has no parameter {mapping.name!r}")
    return shards[mapping.name]
