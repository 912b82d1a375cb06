"""Full Hugging Face tensors from files, in one process and without a model: of a checkpoint's shards, or of a Hugging
Face directory."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
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


_EXPERTS = re.compile(r"policy-experts-ep(\d+)-etp(\d+)-pp(\d+)\.safetensors")


def policy_files(checkpoint: Path) -> list[list[Path]]:
    """The files with the policy's shards: a list of those of all ranks that cut the same parameters, for every stage
    and for every group of experts that are cut in their own way. Raises `CheckpointError` if some are missing."""
    shards: dict[tuple[int, ...], Path] = {}  # by stage and tensor rank
    experts: dict[tuple[int, ...], Path] = {}  # by stage, group and tensor rank
    for path in checkpoint.iterdir():
        if (match := _POLICY.fullmatch(path.name)) is not None:
            shards[int(match[2]), int(match[1])] = path
        elif (match := _EXPERTS.fullmatch(path.name)) is not None:
            experts[int(match[3]), int(match[1]), int(match[2])] = path
    stages = len({place[0] for place in shards})
    complete = all(_is_complete(found) for found in (shards, experts) if found)
    if not shards or not complete or (experts and len({place[0] for place in experts}) != stages):
        count = len(shards) + len(experts)
        raise CheckpointError(f"{checkpoint}: files of the policy are missing; it has {count} of them")
    rows: dict[tuple[int, ...], list[Path]] = {}
    for found in (shards, experts):
        for place in sorted(found):
            rows.setdefault(place[:-1], []).append(found[place])
    return list(rows.values())


def _is_complete(found: Collection[tuple[int, ...]]) -> bool:
    """Whether places fill a box from 0 on."""
    sizes = [len(set(axis)) for axis in zip(*found, strict=True)]
    return set(found) == set(itertools.product(*map(range, sizes)))


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

    `files[i][tensor rank]`, as `policy_files` has them, are safetensors with shards by Megatron name. One parameter is
    in memory at a time. Raises `CheckpointError` for files that are damaged or are not of this model.
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
