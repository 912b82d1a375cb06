"""A checkpoint of another layout, read into this one: every tensor whole for a moment, and then this rank's part of it.

Files are named after the layout that wrote them and hold shards by Megatron's names, so the mappings that load a
Hugging Face directory put them together and take them apart again. Elements are only moved: a checkpoint that goes from
one layout to another and back is the same to the bit. A rank holds its own state and one whole parameter at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prorl_mega.errors import CheckpointError, ModelError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.learner.checkpoint import LearnerManifest, LearnerState, file_names
from prorl_mega.types import ParallelLayout

_LAYER = re.compile(r"^(decoder\.layers\.)(\d+)(?=\.)")


@dataclass(kw_only=True, slots=True, frozen=True)
class Target:
    """This rank's place and what it needs."""

    description: ModelDescription
    layout: ParallelLayout
    parameters: Mapping[str, Tensor]  # live shards, by Megatron's name with global layer numbers
    optimized: Mapping[str, tuple[str, slice]]  # the optimizer's name of a parameter -> its global one, and the part
    # of the flat shard that this data-parallel rank optimises
    sharded_optimizer: bool


def read_other_layout(directory: Path, manifest: LearnerManifest, target: Target) -> LearnerState:
    """This rank's state from files of the layout in `manifest`, generators left out. Raises CheckpointError."""
    if manifest.expert_tensor or target.layout.experts.size > 1:
        raise CheckpointError(
            f"{directory} was saved by other ranks; experts that are cut in their own way are read by the same only: "
            f"{manifest.tensor} tensor × {manifest.pipeline} pipeline × {manifest.data} data, {manifest.expert} groups "
            "of experts"
        )
    try:
        return _read(directory, manifest, target)
    except ModelError as error:
        raise CheckpointError(f"{directory} is of another model: {error}") from None


def _read(directory: Path, manifest: LearnerManifest, target: Target) -> LearnerState:
    files = _Files(directory)
    registry = MappingRegistry(target.description)
    weights = {
        part: _Weights(files, part, manifest, registry, target.layout)
        for part in ("policy", "reference", "best")
        if part != "best" or files.has(part)
    }
    parts = {
        part: {name: found.shard(registry.mapping(name), live) for name, live in target.parameters.items()}
        for part, found in weights.items()
    }
    optimizer = _optimizer(files, weights["policy"], manifest, registry, target)
    return LearnerState(optimizer=optimizer, random={}, optimizer_steps=manifest.optimizer_steps, **parts)


class _Files:
    """The open files of a checkpoint."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, Any] = {}
        self._keys: dict[str, dict[str, None]] = {}  # by file; in order

    def has(self, part: str) -> bool:
        return (self._directory / file_names(0, 0, 0)[part]).exists()

    def keys(self, part: str, tensor: int, pipeline: int, data: int = 0) -> dict[str, None]:
        name = file_names(tensor, pipeline, data)[part]
        if name not in self._keys:
            self._keys[name] = dict.fromkeys(self._file(part, tensor, pipeline, data).keys())
        return self._keys[name]

    def shape(self, part: str, tensor: int, pipeline: int, key: str) -> list[int]:
        """From the file's header."""
        try:
            return list(self._file(part, tensor, pipeline, 0).get_slice(key).get_shape())
        except SafetensorError as error:
            raise CheckpointError(f"{self._directory}: {part} {key!r} cannot be read: {error}") from None

    def tensor(self, part: str, tensor: int, pipeline: int, key: str, data: int = 0) -> Tensor:
        file = self._file(part, tensor, pipeline, data)
        try:
            found: Tensor = file.get_tensor(key)
        except SafetensorError as error:
            raise CheckpointError(f"{self._directory}: {part} {key!r} cannot be read: {error}") from None
        if found.is_floating_point() and found.numel() and not torch.isfinite(torch.stack(found.aminmax())).all():
            raise CheckpointError(f"{self._directory}: {part} {key!r} is not finite")
        return found

    def _file(self, part: str, tensor: int, pipeline: int, data: int) -> Any:
        name = file_names(tensor, pipeline, data)[part]
        if name not in self._open:
            try:
                self._open[name] = safe_open(self._directory / name, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{self._directory / name}: not a whole safetensors file: {error}") from None
        return self._open[name]


class _Weights:
    """One copy of the weights in the layout that saved it."""

    def __init__(
        self, files: _Files, part: str, manifest: LearnerManifest, registry: MappingRegistry, layout: ParallelLayout
    ) -> None:
        self._files, self._part, self._layout = files, part, layout
        self._tensor_size = manifest.tensor
        self._places = {
            registry.mapping(name).name: (stage, name)
            for stage in range(manifest.pipeline)
            for name in files.keys(part, 0, stage)
        }
        self._registry = registry

    def shard(self, mapping: ParamMapping, live: Tensor) -> Tensor:
        """This rank's shard of a parameter, in the shape and dtype of `live`, on the host."""
        source = _source(mapping, self._places, self._registry)
        stage, name = self._places[source.name]

        def read(rank: int) -> Tensor:
            return self._files.tensor(self._part, rank, stage, name)

        return _cut(source, mapping, read, self._tensor_size, tuple(live.shape), self._layout)

    def saved_shape(self, mapping: ParamMapping, rank: int) -> list[int]:
        """The shape of the shard that a tensor-parallel rank has saved."""
        stage, name = self._places[mapping.name]
        return self._files.shape(self._part, rank, stage, name)


def _optimizer(
    files: _Files, policy: _Weights, manifest: LearnerManifest, registry: MappingRegistry, target: Target
) -> dict[str, Tensor]:
    first_layers = [_first_layer(files.keys("policy", 0, stage)) for stage in range(manifest.pipeline)]
    places: dict[str, tuple[int, str]] = {}  # as of the weights: the mapping's name -> stage, the optimizer's own name
    quantities: dict[str, set[str]] = {}
    for stage in range(manifest.pipeline):
        for data in range(manifest.data if target.sharded_optimizer else 1):
            for key in files.keys("optimizer", 0, stage, data):
                own, _, quantity = key.rpartition("/")
                name = registry.mapping(_moved(own, first_layers[stage])).name
                places[name] = (stage, own)
                quantities.setdefault(name, set()).add(quantity)
    found = {}
    if places:
        for own, (name, part) in target.optimized.items():
            mapping = registry.mapping(name)
            source = _source(mapping, places, registry)
            stage, saved = places[source.name]
            shape = tuple(target.parameters[name].shape)
            for quantity in sorted(quantities[source.name]):
                key = f"{saved}/{quantity}"

                def read(rank: int, stage: int = stage, key: str = key, source: ParamMapping = source) -> Tensor:
                    if not target.sharded_optimizer:
                        return files.tensor("optimizer", rank, stage, key)
                    return _whole(files, manifest.data, (rank, stage), key, policy.saved_shape(source, rank))

                cut = _cut(source, mapping, read, manifest.tensor, shape, target.layout)
                found[f"{own}/{quantity}"] = cut.flatten()[part].clone() if target.sharded_optimizer else cut
    return found


def _whole(files: _Files, replicas: int, place: tuple[int, int], key: str, shape: list[int]) -> Tensor:
    """A quantity of the optimizer in the `shape` of a saved rank's parameter, from the parts of its replicas."""
    parts = [
        files.tensor("optimizer", *place, key, data)
        for data in range(replicas)
        if key in files.keys("optimizer", *place, data)
    ]
    flat = torch.cat(parts) if parts else torch.empty(0)
    if flat.numel() != prod(shape):
        raise CheckpointError(
            f"optimizer state {key} has {flat.numel()} elements on all replicas, the parameter has {prod(shape)}"
        )
    return flat.view(shape)


def _source(mapping: ParamMapping, places: Mapping[str, Any], registry: MappingRegistry) -> ParamMapping:
    """The mapping under which the tensors of `mapping` were saved: another one for a tied output layer, which only some
    layouts have by itself."""
    if mapping.name in places:
        return mapping
    for other in registry.mappings:
        if other.name in places and other.tensors.keys() == mapping.tensors.keys():
            return other
    raise CheckpointError(f"the checkpoint has nothing of {mapping.name!r}")


def _cut(
    source: ParamMapping,
    mapping: ParamMapping,
    read: Callable[[int], Tensor],
    saved_size: int,
    shape: tuple[int, ...],
    layout: ParallelLayout,
) -> Tensor:
    """This rank's shard; `read(rank)` is that of one of the `saved_size` tensor-parallel ranks that saved it."""
    if saved_size == layout.tensor_size:
        shard = read(layout.tensor_rank)
        if tuple(shard.shape) != shape:
            raise CheckpointError(f"{mapping.name!r} in the checkpoint has shape {tuple(shard.shape)}, not {shape}")
        return shard
    shards = [read(rank) for rank in range(saved_size)]
    shard = shards[0].new_zeros(shape)
    try:
        mapping.load(shard, source.join(shards), layout.tensor_rank, layout.tensor_size)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{mapping.name!r} in the checkpoint is not of this model: {error}") from None
    return shard


def _first_layer(names: Iterable[str]) -> int:
    return min((int(match[2]) for name in names if (match := _LAYER.match(name))), default=0)


def _moved(name: str, first_layer: int) -> str:
    """A name with the number of its layer in the whole model."""
    return _LAYER.sub(lambda match: f"{match[1]}{int(match[2]) + first_layer}", name)
