"""Loading a Hugging Face directory into this rank's shards of the Megatron model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prorl_mega.errors import ModelError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.families.param_mapping import ParamMapping
from prorl_mega.huggingface.weights import check_weights
from prorl_mega.types import ParallelLayout

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@torch.no_grad()
def load_weights(
    path: str | Path, parameters: Mapping[str, Tensor], description: ModelDescription, layout: ParallelLayout
) -> None:
    """Copy the weights of a Hugging Face directory into the live `parameters` of this rank.

    `parameters` are shards by Megatron name with global layer numbers; padded rows of the vocabulary become zeros and
    values are cast to the parameters' dtype. Every rank checks the whole checkpoint (names and shapes, from the files'
    headers) and reads only the data of its own shards, so that all ranks raise the same `ModelError` when a file is
    missing, damaged, incomplete, or has a tensor that the model does not know.
    """
    registry = MappingRegistry(description)
    _check_parameters(parameters, registry, layout)
    with Checkpoint(Path(path), description) as checkpoint:
        for name, parameter in parameters.items():
            mapping = registry.mapping(name)
            rows = parameter.shape[0]
            rank, size = mapping.place(layout)
            expected = mapping.shard_shape(size, rows)
            assert tuple(parameter.shape) == expected, f"{name}: {tuple(parameter.shape)} in the model, not {expected}"
            assert not mapping.rule.padded or rows * layout.tensor_size >= description.vocab_size, name
            slices = {tensor: checkpoint.slice(tensor) for tensor in mapping.checkpoint_tensors}
            try:
                mapping.load(parameter, slices, rank, size)
            except SafetensorError as error:
                raise ModelError(f"{path}: {', '.join(slices)} cannot be read: {error}") from None


def _check_parameters(parameters: Mapping[str, Tensor], registry: MappingRegistry, layout: ParallelLayout) -> None:
    """Refuse a stage that lacks a parameter: it would silently leave a checkpoint's tensor unused."""
    present = {registry.mapping(name).name for name in parameters}
    layers = {name.split(".")[2] for name in present if name.startswith("decoder.layers.")}
    for mapping in registry.mappings:
        if mapping.name.startswith("decoder.layers."):
            wanted = mapping.name.split(".")[2] in layers and _is_here(mapping, registry, layout)
        elif mapping.name.startswith("embedding."):
            wanted = layout.pipeline_rank == 0
        else:
            wanted = layout.pipeline_rank == layout.pipeline_size - 1 and (not mapping.copy or layout.pipeline_size > 1)
        if wanted and mapping.name not in present:
            raise ModelError(f"the model of pipeline stage {layout.pipeline_rank} has no parameter {mapping.name!r}")


def _is_here(mapping: ParamMapping, registry: MappingRegistry, layout: ParallelLayout) -> bool:
    """Whether it is no expert's, or one of an expert that this rank holds."""
    return mapping.expert is None or layout.experts.holds(mapping.expert, registry.experts)


class Checkpoint:
    """The safetensors files of a Hugging Face directory, opened lazily; a context manager."""

    def __init__(self, directory: Path, description: ModelDescription) -> None:
        """Raises `ModelError` unless the files hold the model: `huggingface.weights.check_weights`."""
        self._files = {name: stored.file for name, stored in check_weights(directory, description).items()}
        self._open: dict[Path, Any] = {}

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()

    def slice(self, name: str) -> Any:
        """A lazy view: indexing it reads what is asked for."""
        return self._handle(self._files[name]).get_slice(name)

    def _handle(self, file: Path) -> Any:
        if file not in self._open:
            try:
                self._open[file] = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{file}: not a whole safetensors file: {error}") from None
        return self._open[file]
