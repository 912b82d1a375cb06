"""Full Hugging Face tensors from files, in one process and without a model: of a checkpoint's shards, or of a Hugging
Face directory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from prorl_mega.errors import CheckpointError, ModelError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.run import manifest
from prorl_mega.run.label import mislabelled
from prorl_mega.weights.load import Checkpoint

_POLICY = re.compile(r"policy-tp(\d+)-pp(\d+)\.safetensors")  # named by prorl_mega/learner/checkpoint.py


def policy_files(checkpoint: Path) -> list[list[Path]]:
    """The files with the policy's shards, as `[stage][tensor rank]`. Raises `CheckpointError` if some are missing."""
    found = {
        (int(match[2]), int(match[1])): path
        for path in checkpoint.iterdir()
        if (match := _POLICY.fullmatch(path.name)) is not None
    }
    stages, ranks = ({place[i] for place in found} for i in (0, 1))
    wanted = [[(stage, rank) for rank in range(len(ranks))] for stage in range(len(stages))]
    if not found or {place for row in wanted for place in row} != set(found):
        raise CheckpointError(f"{checkpoint}: files of the policy are missing; it has {len(found)} of them")
    return [[found[place] for place in row] for row in wanted]


def stream_directory(path: Path, description: ModelDescription) -> Iterator[tuple[str, Tensor]]:
    """(name, full tensor) of a Hugging Face directory, as far as the model has it, one tensor in memory at a time.

    Raises `ModelError` where a file is missing, damaged or of another model.
    """
    with Checkpoint(path, description) as checkpoint:
        for name in MappingRegistry(description).tensors:
            try:
                yield name, checkpoint.slice(name)[:]
            except SafetensorError as error:
                raise ModelError(f"{path}: {name} cannot be read: {error}") from None


def stream_saved(files: Sequence[Sequence[Path]], description: ModelDescription) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, full tensor) of the whole model, in the order of `stream_weights`.

    `files[stage][tensor rank]` are safetensors with the shards of that rank by Megatron name. One parameter is in
    memory at a time. Raises `CheckpointError` for files that are damaged or are not of this model.
    """
    registry = MappingRegistry(description)
    stages = [[_open(file) for file in stage] for stage in files]
    try:
        places = {registry.mapping(name).name: (stage, name) for stage in stages for name in list(stage[0].keys())}
    except ModelError as error:
        raise CheckpointError(f"{files[0][0].parent}: the policy's files are of another model: {error}") from None
    for mapping in registry.exported:
        if mapping.name not in places:
            raise CheckpointError(f"{files[0][0].parent}: no file has the parameter {mapping.name!r}")
        stage, name = places[mapping.name]
        try:
            shards = [file.get_tensor(name) for file in stage]
        except SafetensorError as error:
            raise CheckpointError(f"{files[0][0].parent}: {name!r} cannot be read: {error}") from None
        rows = max(shards[0].shape[0], -(-description.vocab_size // len(shards))) if mapping.rule.padded else 0
        expected = mapping.shard_shape(len(shards), rows)
        if any(tuple(shard.shape) != expected for shard in shards):
            raise CheckpointError(f"{files[0][0].parent}: {name!r} has shape {tuple(shards[0].shape)}, not {expected}")
        yield from mapping.join(shards).items()


def _open(file: Path) -> Any:
    try:
        opened = safe_open(file, framework="pt")
        fault = mislabelled(opened.metadata(), file.name, manifest.read(file.parent).step, must_have=False)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a whole safetensors file: {error}") from None
    if fault:
        raise CheckpointError(f"{file.parent}: {fault}")
    return opened
