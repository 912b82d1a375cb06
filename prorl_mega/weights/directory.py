"""A Hugging Face directory that transformers and vLLM load, written from a stream of full tensors.

    config.json                       the source's, with the dtype that is written
    model.safetensors                 or model-00001-of-0000N.safetensors and model.safetensors.index.json
    tokenizer.json, ...               copied from the source

The directory is written aside, forced to disk and renamed, so that it is complete or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from prorl_mega.errors import ModelError, StorageError
from prorl_mega.run.storage import fsync_path
from prorl_mega.weights.load import INDEX, SINGLE

CONFIG = "config.json"
COPIED = (
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE",
)
TEMPLATES = "additional_chat_templates"  # a folder of .jinja files


def save_directory(
    stream: Iterator[tuple[str, Tensor]], source: str | Path, target: str | Path, *, max_shard_bytes: int, writes: bool
) -> None:
    """Write `stream` as the Hugging Face directory `target`; configuration and tokenizer come from `source`.

    All ranks consume the stream; the one that `writes` (rank 0) holds at most `max_shard_bytes` and one tensor of it on
    the host. An older checkpoint at `target` is replaced; any other directory there is left alone (`ModelError`). A
    failure (`StorageError` when the disk is to blame) is raised after the stream has been consumed, so that the other
    ranks are not left waiting in the middle of it; on those nothing is raised.
    """
    if writes:
        try:
            _write_aside(stream, Path(source), Path(target), max_shard_bytes)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{target}: cannot be written: {error}") from error
        finally:
            _consume(stream)
    else:
        _consume(stream)


def read_companions(source: str | Path) -> dict[str, bytes]:
    """The files beside the weights in a Hugging Face directory, as far as it has them: configuration and tokenizer.

    The keys are paths inside the directory.
    """
    directory = Path(source)
    paths = [*(directory / name for name in COPIED), *sorted(directory.glob(f"{TEMPLATES}/*.jinja"))]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def write_companions(directory: Path, files: dict[str, bytes]) -> None:
    """Write what `read_companions` has read into another directory, and force it to the disk."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        fsync_path(path)


def check_target(target: str | Path) -> None:
    """Raise `ModelError` when `save_directory` would refuse `target`; worth asking before hours of training."""
    if Path(target).exists() and not (Path(target) / CONFIG).exists():
        raise ModelError(f"{target}: exists and is not a checkpoint; name another directory or remove it")


def _consume(stream: Iterator[tuple[str, Tensor]]) -> None:
    for _ in stream:
        pass


def _write_aside(stream: Iterator[tuple[str, Tensor]], source: Path, target: Path, max_shard_bytes: int) -> None:
    check_target(target)
    aside = target.with_name(f".{target.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    dtypes = _write_tensors(stream, aside, max_shard_bytes)
    (aside / CONFIG).write_text(_config(source / CONFIG, dtypes), encoding="utf-8")
    write_companions(aside, {name: each for name, each in read_companions(source).items() if name != CONFIG})
    for path in (*aside.iterdir(), aside):
        fsync_path(path)
    _replace(aside, target)


def _write_tensors(stream: Iterator[tuple[str, Tensor]], directory: Path, max_shard_bytes: int) -> set[torch.dtype]:
    """The safetensors files and, for more than one, their index. Returns the dtypes that occurred."""
    shards: list[list[str]] = []
    dtypes: set[torch.dtype] = set()
    pending: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        nonlocal size
        save_file(pending, directory / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()
        size = 0

    for name, tensor in stream:
        if pending and size + tensor.nbytes > max_shard_bytes:
            flush()
        pending[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu").copy_(tensor.detach())
        dtypes.add(tensor.dtype)
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    if len(shards) == 1:
        (directory / "0.part").rename(directory / SINGLE)
        return dtypes
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (directory / f"{number}.part").rename(directory / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), encoding="utf-8")
    return dtypes


def _config(file: Path, dtypes: set[torch.dtype]) -> str:
    """The source's config.json with the current dtype of the tensors, in both spellings that are in use."""
    config = json.loads(file.read_text(encoding="utf-8"))
    (dtype,) = {str(dtype).removeprefix("torch.") for dtype in dtypes}
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    return json.dumps(config | {key: dtype}, indent=2) + "\n"


def _replace(aside: Path, target: Path) -> None:
    """Put `aside` in place of `target`: renames cannot replace a directory with files, so that is moved away first."""
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    aside.rename(target)
    fsync_path(target.parent)
    if old.exists():
        shutil.rmtree(old)
