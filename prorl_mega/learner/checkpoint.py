"""The learner's files of a checkpoint: safetensors for tensors, JSON for the rest, nothing that executes.

    learner.json                                   format, layout, step counts, written by rank 0
    policy-tp00-pp00.safetensors                   one per model shard, written by data rank 0
    reference-tp00-pp00.safetensors                likewise
    best-tp00-pp00.safetensors                     likewise, where the best policy so far is kept
    policy-experts-ep00-etp00-pp00.safetensors     experts that are cut in their own way, written by their data rank 0;
                                                   reference and best likewise
    optimizer-tp00-pp00-dp00.safetensors           one per rank: its part of the state
    random-tp00-pp00-dp00.safetensors              one per rank: generator states

Every safetensors file says in its header which file of which step it is (`prorl_mega/run/label.py`).

All ranks write to, and read from, one directory on a shared file system. Whoever calls `save` makes the directory
appear at once or not at all and checks the files before `load`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from prorl_mega.documents import read_json
from prorl_mega.errors import CheckpointError
from prorl_mega.families.param_mapping import is_of_expert
from prorl_mega.run.label import label, mislabelled
from prorl_mega.types import ParallelLayout

FORMAT = 1
MANIFEST = "learner.json"
_CUDA_STATE = 16  # bytes: a seed and an offset
_Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class LearnerManifest(msgspec.Struct, kw_only=True):
    """`learner.json`."""

    format: Literal[1] = 1
    tensor: _Size  # ranks, as of the other two
    pipeline: _Size
    data: _Size
    expert: _Size = 1  # groups that share the experts
    expert_tensor: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0  # ranks of each; 0: cut as everything else
    optimizer_steps: Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # since the optimizer was last fresh
    after_step: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    """The step that all files name in their headers; earlier versions wrote neither."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.tensor, self.pipeline, self.data

    @property
    def expert_sizes(self) -> tuple[int, int]:
        """Groups, and ranks of each, of experts that are cut in their own way; (1, 0) otherwise."""
        return self.expert, self.expert_tensor


@dataclass(kw_only=True, slots=True, frozen=True)
class LearnerState:
    """The state in a rank's checkpoint: live tensors on saving, freshly read ones on the host after loading."""

    policy: dict[str, torch.Tensor]
    reference: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    random: dict[str, torch.Tensor]
    optimizer_steps: int
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # empty: none was kept


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """States of torch's generators, as bytes."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put torch's generators back into `states`. Raises CheckpointError for states that are none."""
    for name, now in random_state(device).items():
        saved = states.get(name)
        if saved is None or saved.shape != now.shape or saved.dtype != now.dtype:
            is_now = "nothing" if saved is None else f"{saved.dtype} {list(saved.shape)}"
            raise CheckpointError(
                f"the random state {name!r} in the checkpoint is {is_now}, this run needs {now.dtype} {list(now.shape)}"
            )
    try:
        torch.set_rng_state(states["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], device)
    except RuntimeError as error:
        raise CheckpointError(f"the random state in the checkpoint is not one of torch's: {error}") from None


@dataclass(kw_only=True, slots=True, frozen=True)
class _File:
    part: str  # of the state
    name: str
    is_written: bool  # by this rank
    experts: bool | None = None  # whether it holds the experts' tensors, or those of everything else; None: both


def _files(layout: ParallelLayout) -> Iterator[_File]:
    experts, own = layout.experts, _own_cut(layout) != (1, 0)
    for part, name in file_names(layout.tensor_rank, layout.pipeline_rank, layout.data_rank).items():
        if part in ("optimizer", "random"):
            yield _File(part=part, name=name, is_written=True)
            continue
        yield _File(part=part, name=name, is_written=layout.data_rank == 0, experts=False if own else None)
        if own:
            name = expert_file(part, experts.rank, experts.tensor_rank, layout.pipeline_rank)
            yield _File(part=part, name=name, is_written=experts.data_rank == 0, experts=True)


def _own_cut(layout: ParallelLayout) -> tuple[int, int]:
    """The value of `LearnerManifest.expert_sizes`."""
    experts = layout.experts
    is_own = experts.size > 1 or experts.tensor_size != layout.tensor_size
    return (experts.size, experts.tensor_size) if is_own else (1, 0)


def expert_file(part: str, group: int, tensor_rank: int, pipeline_rank: int) -> str:
    """The file with the experts of one group, where they are cut in their own way."""
    return f"{part}-experts-ep{group:02d}-etp{tensor_rank:02d}-pp{pipeline_rank:02d}.safetensors"


def file_names(tensor_rank: int, pipeline_rank: int, data_rank: int) -> dict[str, str]:
    """The file of every part of a rank's state."""
    shard = f"tp{tensor_rank:02d}-pp{pipeline_rank:02d}"
    shards = {part: f"{part}-{shard}.safetensors" for part in ("policy", "reference", "best")}
    return shards | {part: f"{part}-{shard}-dp{data_rank:02d}.safetensors" for part in ("optimizer", "random")}


def save_state(directory: Path, layout: ParallelLayout, state: LearnerState, step: int) -> None:
    """Write this rank's files, of the state after `step`, into the existing `directory`; who lists them in a manifest
    forces them to disk."""
    for file in _files(layout):
        tensors = {
            key: value.detach().contiguous()
            for key, value in getattr(state, file.part).items()
            if file.experts in (None, is_of_expert(key))
        }
        if file.is_written and (tensors or file.part != "best"):
            save_file(tensors, directory / file.name, metadata=label(file.name, step))
    if layout.rank == 0:
        manifest = LearnerManifest(
            tensor=layout.tensor_size,
            pipeline=layout.pipeline_size,
            data=layout.data_size,
            expert=_own_cut(layout)[0],
            expert_tensor=_own_cut(layout)[1],
            optimizer_steps=state.optimizer_steps,
            after_step=step,
        )
        (directory / MANIFEST).write_text(json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n")


def load_state(directory: Path, layout: ParallelLayout) -> LearnerState:
    """Read this rank's files, of the same layout. Raises CheckpointError when one is missing or broken."""
    manifest = read_manifest(directory)
    assert is_of(manifest, layout), f"{directory} is of another layout; relayout.py reads it"
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for file in _files(layout):
        if file.part != "best" or (directory / file.name).exists():
            parts.setdefault(file.part, {}).update(_tensors(directory / file.name))
    return LearnerState(optimizer_steps=manifest.optimizer_steps, **parts)


def is_of(manifest: LearnerManifest, layout: ParallelLayout) -> bool:
    """Whether a checkpoint was saved by ranks that stand as these do."""
    sizes = (layout.tensor_size, layout.pipeline_size, layout.data_size)
    return manifest.sizes == sizes and manifest.expert_sizes == _own_cut(layout)


def copy_into(live: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], what: str) -> None:
    """Copy saved tensors into the live ones. Raises CheckpointError, before anything is copied, if they differ."""
    if set(live) != set(saved):
        odd = sorted(set(live) ^ set(saved))
        raise CheckpointError(f"{what} in the checkpoint is of another model: {', '.join(odd[:3])} ({len(odd)} differ)")
    for name, value in live.items():
        if saved[name].shape != value.shape or saved[name].dtype != value.dtype:
            raise CheckpointError(
                f"{what} {name} in the checkpoint is {saved[name].dtype} {list(saved[name].shape)}, "
                f"this run needs {value.dtype} {list(value.shape)}"
            )
    with torch.no_grad():
        for name, value in live.items():
            value.copy_(saved[name])


def read_manifest(directory: Path) -> LearnerManifest:
    """`learner.json` of a checkpoint. Raises CheckpointError that names the file and the key."""
    path = directory / MANIFEST
    try:
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(f"{path} is not a learner checkpoint of format {FORMAT}")
        return msgspec.convert(content, LearnerManifest)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def refuse_odd_files(directory: Path, manifest: LearnerManifest, step: int) -> None:
    """Raise CheckpointError for a tensor file of the checkpoint after `step` that is damaged, is another one than its
    name says, or has generator states of another size than torch's. Reads headers alone."""
    names = {path.name for path in directory.iterdir()}
    for name in sorted(names.intersection(all_files(manifest))):
        try:
            with safe_open(directory / name, framework="pt") as file:
                metadata = file.metadata()
                slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
                shapes = {key: (each.get_dtype(), list(each.get_shape())) for key, each in slices.items()}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{name} is damaged: {error}") from error
        if fault := mislabelled(metadata, name, step, must_have=manifest.after_step is not None):
            raise CheckpointError(fault)
        if name.startswith("random-"):
            _refuse_odd_random_state(name, shapes)


def _refuse_odd_random_state(name: str, shapes: dict[str, tuple[str, list[int]]]) -> None:
    sizes = {"cpu": len(torch.get_rng_state()), "cuda": _CUDA_STATE}
    wanted = {key: ("U8", [sizes[key]]) for key in sizes if key == "cpu" or key in shapes}
    if shapes != wanted:
        raise CheckpointError(f"{name} has the random states {shapes}; {wanted} work")


def all_files(manifest: LearnerManifest) -> list[str]:
    """The tensor files of all ranks, those that need not exist included."""
    ranks = itertools.product(*map(range, manifest.sizes))
    names = {name for place in ranks for name in file_names(*place).values()}
    if manifest.expert_tensor:
        places = itertools.product(*map(range, (*manifest.expert_sizes, manifest.pipeline)))
        names |= {expert_file(part, *place) for place in places for part in ("policy", "reference", "best")}
    return sorted(names)


def missing_files(manifest: LearnerManifest, found: Collection[str]) -> list[str]:
    """The files of all ranks that a checkpoint with this manifest must have and that are not among those `found`."""
    names = [name for name in all_files(manifest) if not name.startswith("best-")]
    return sorted(set(names) - set(found))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel() and not torch.isfinite(torch.stack(value.aminmax())).all():
            raise CheckpointError(f"{path}: {name} is not finite")
    return tensors
