"""Hashes of what a Hugging Face directory contains: equal wherever it lies, other when a file was changed in place.

Weights are known by their names, types, shapes and, of every tensor, `_SAMPLE` bytes at its beginning and in its
middle. That takes a second where a hash of all bytes takes minutes; another checkpoint of the same model, a fine-tuned
one or one in which some layers were merged, differs in them. How tensors are split over files does not count.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

from prorl_mega.documents import LARGEST_JSON, BrokenDocumentError, parse_json, read_content, read_json

WEIGHTS = "the weights"
_SAMPLE = 4096  # bytes
_READ = {
    "config.json": (),
    "generation_config.json": ("eos_token_id",),
    "tokenizer.json": (),
    "tokenizer_config.json": (),
    "special_tokens_map.json": (),
}
"""The files that a run reads as JSON, and the only keys that count in them; none: all but those of `_COSMETIC`."""
_COSMETIC = ("transformers_version", "_name_or_path", "name_or_path")  # what a library writes about itself


def contents(directory: str | Path, *, weights: bool) -> dict[str, str]:
    """File name -> hash of what it says, for the files that decide about tokens, prompts and ends; `WEIGHTS` as well.

    What is missing or cannot be read is left out: whoever loads it says so.
    """
    directory = Path(directory)
    found = {name: digest for name in _READ if (digest := _json_hash(directory / name)) is not None}
    templates = [directory / "chat_template.jinja", *sorted(directory.glob("additional_chat_templates/*.jinja"))]
    for path in templates:
        if path.is_file():
            found[str(path.relative_to(directory))] = blake3(path.read_bytes()).hexdigest()
    if weights and (digest := _weights_hash(directory)) is not None:
        found[WEIGHTS] = digest
    return found


def _json_hash(path: Path) -> str | None:
    try:
        raw = read_content(path)
    except (OSError, BrokenDocumentError):
        return None
    try:
        content = parse_json(raw, finite=False)
    except BrokenDocumentError:
        return blake3(raw).hexdigest()
    if isinstance(content, dict):
        keys = _READ[path.name] or [key for key in content if key not in _COSMETIC]
        content = {key: content[key] for key in keys if key in content}
    if not content:
        return None
    return blake3(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _weights_hash(directory: Path) -> str | None:
    """None where there are no safetensors, or broken ones."""
    tensors: list[tuple[str, bytes]] = []
    try:
        for path in _weight_files(directory):
            tensors += _samples(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error):
        return None
    digest = blake3()
    for name, content in sorted(tensors):
        digest.update(f"{len(name)} {len(content)} {name}".encode("utf-8", "surrogatepass") + content)
    return digest.hexdigest() if tensors else None


def _weight_files(directory: Path) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    names = read_json(index)["weight_map"].values() if index.is_file() else ["model.safetensors"]
    return [directory / Path(name).name for name in sorted(set(names))]


def _samples(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name of every tensor, and its type, its shape and the bytes of it that are looked at."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(LARGEST_JSON, path.stat().st_size):
            raise ValueError("not a safetensors file")
        header: dict[str, Any] = parse_json(file.read(length))
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            start, end = tensor["data_offsets"]
            about = json.dumps([tensor["dtype"], tensor["shape"]]).encode()
            parts = []
            for place in (start, start + (end - start) // 2):
                file.seek(8 + length + place)
                parts.append(file.read(min(_SAMPLE, max(0, end - place))))
            yield name, b"".join([about, *parts])
