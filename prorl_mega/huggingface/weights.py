"""The weights of a Hugging Face directory, from the headers of its safetensors files. Imports no torch.

Only headers are read, so this is quick for checkpoints of any size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.errors import ModelError
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.huggingface.config_file import ConfigFile

_HEADER_LIMIT = 100 * 2**20  # bytes; the format's own bound on a safetensors header
_FLOATS = {"F64", "F32", "F16", "BF16"}
_HARMLESS = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")  # computed from config.json


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor as its header describes it; `dtype` as safetensors spells it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def check_weights(path: str | Path, description: ModelDescription) -> dict[str, StoredTensor]:
    """`read_headers`, and `ModelError` unless they are of exactly the model's tensors (harmless extras aside)."""
    stored, tensors = read_headers(path), MappingRegistry(description).tensors
    if missing := [name for name in tensors if name not in stored]:
        raise ModelError(f"{path}: has no tensor {missing[0]!r} (missing: {len(missing)} of {len(tensors)})")
    for name, found in stored.items():
        if name not in tensors:
            if name.endswith(_HARMLESS) or (description.tied_embeddings and name == "lm_head.weight"):
                continue
            raise ModelError(f"{found.file}: tensor {name!r} is not a part of the model in config.json")
        if found.shape != tensors[name]:
            raise ModelError(f"{found.file}: {name!r} has shape {found.shape}; config.json says {tensors[name]}")
        if found.dtype not in _FLOATS:
            raise ModelError(f"{found.file}: {name!r} is stored as {found.dtype}; only {sorted(_FLOATS)} can be loaded")
    return stored


def read_headers(path: str | Path) -> dict[str, StoredTensor]:
    """The tensors of a directory by name, in the order of their files.

    Raises `ModelError` unless it has safetensors files that are whole and cover their index.
    """
    directory = Path(path)
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if index.exists():
        weight_map = ConfigFile.read(index).fields.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map or not _are_texts(weight_map):
            raise ModelError(f"{index}: has no weight_map; the file is incomplete, copy the checkpoint again")
        tensors: dict[str, StoredTensor] = {}
        for file_name in sorted(set(weight_map.values())):
            if Path(file_name).name != file_name:
                raise ModelError(f"{index}: {file_name!r} is not a plain file name in this directory")
            present = _header(directory / file_name)
            wanted = {tensor for tensor, holder in weight_map.items() if holder == file_name}
            if lacking := sorted(wanted - present.keys()):
                raise ModelError(
                    f"{directory / file_name}: lacks {lacking[0]} and {len(lacking) - 1} more of its index"
                )
            tensors |= {name: tensor for name, tensor in present.items() if name in wanted}
        return tensors
    if single.exists():
        return _header(single)
    if pickled := sorted(directory.glob("*.bin")) + sorted(directory.glob("*.pt")) + sorted(directory.glob("*.pth")):
        raise ModelError(
            f"{pickled[0]}: pickled weights are refused because loading them can run code; "
            "convert the checkpoint to safetensors"
        )
    raise ModelError(f"{directory}: has neither model.safetensors nor model.safetensors.index.json")


def _are_texts(weight_map: dict[str, object]) -> bool:
    return all(isinstance(holder, str) for holder in weight_map.values())


class _Entry(msgspec.Struct):
    """A tensor in a safetensors header."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]


def _header(file: Path) -> dict[str, StoredTensor]:
    """The tensors in a safetensors header; raises when the file's size is not what the header promises."""
    if not file.exists():
        raise ModelError(f"{file}: missing, although the index of the checkpoint names it")
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(_HEADER_LIMIT, size - 8):
            raise ModelError(f"{file}: truncated or not a safetensors file ({size} bytes)")
        header = stream.read(length)
    try:
        listed = parse_json(header)
        tensors = {name: msgspec.convert(each, _Entry) for name, each in listed.items() if name != "__metadata__"}
        expected = 8 + length + max((entry.data_offsets[1] for entry in tensors.values()), default=0)
        found = {name: StoredTensor(file=file, dtype=each.dtype, shape=each.shape) for name, each in tensors.items()}
    except (BrokenDocumentError, msgspec.ValidationError, AttributeError):
        raise ModelError(f"{file}: its safetensors header is damaged; copy the file again") from None
    if size != expected:
        raise ModelError(f"{file}: has {size} bytes but its header promises {expected}; copy the file again")
    return found
