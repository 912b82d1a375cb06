"""The list of a checkpoint's files, with the means to tell whether they are all intact.

`MANIFEST.json` is written last. A file counts only if its name, size and BLAKE3 hash are listed, because every common
tensor format loads a flipped bit without complaint.
"""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from prorl_mega.documents import brief, read_json
from prorl_mega.run.storage import content_hash, forget_cached, fsync_path

NAME = "MANIFEST.json"
FORMAT = 1


class BrokenManifestError(ValueError):
    """The reason why a directory is no usable checkpoint. Never leaves this package."""


@dataclass(kw_only=True, slots=True, frozen=True)
class FileEntry:
    bytes: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    blake3: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


@dataclass(kw_only=True, slots=True, frozen=True)
class Manifest:
    """The files of step `step`."""

    step: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    world_size: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    files: dict[str, FileEntry]  # relative POSIX path -> entry

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True)


def seal(path: Path) -> FileEntry:
    """Force a finished file to the disk and describe it. The cached copy is dropped: verification reads the disk."""
    fsync_path(path)
    entry = FileEntry(bytes=path.stat().st_size, blake3=content_hash(path))
    forget_cached(path)
    return entry


def list_files(directory: Path) -> list[str]:
    """Relative names of all regular files below `directory`, sorted. Links and special files are refused."""
    names = []
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            names.append(path.relative_to(directory).as_posix())
        elif not stat.S_ISDIR(mode):
            raise BrokenManifestError(f"{path} is not a regular file")
    return names


def read(directory: Path) -> Manifest:
    """The manifest of a checkpoint. Raises BrokenManifestError, and nothing else, for a damaged one."""
    path = directory / NAME
    try:
        if path.is_symlink() or not path.is_file():
            raise BrokenManifestError(f"{NAME} is missing")
        content = read_json(path)
        if content["format"] != FORMAT:
            raise BrokenManifestError(f"{NAME} has format {brief(content['format'])}; this version reads {FORMAT}")
        manifest = msgspec.convert(content, Manifest)
        for name in manifest.files:
            _refuse_outside(name)
        return manifest
    except BrokenManifestError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenManifestError(f"{NAME} cannot be read ({type(error).__name__}: {error})") from error


def complaints(directory: Path, manifest: Manifest, names: list[str]) -> list[str]:
    """The faults of the listed files `names`, one sentence each; empty when all of them are intact."""
    return [f"{name} {fault}" for name in names if (fault := _fault(directory, name, manifest.files[name]))]


def _fault(directory: Path, name: str, entry: FileEntry) -> str:
    path = directory / name
    try:
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(directory)):
            return "is a symbolic link"
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if size != entry.bytes:
            return f"has {size} bytes instead of {entry.bytes}"
        if content_hash(path) != entry.blake3:
            return "has changed (hash differs)"
    except OSError as error:
        return f"cannot be read ({error})"
    return ""


def _refuse_outside(name: str) -> None:
    """Raise BrokenManifestError unless `name` is a path inside the checkpoint."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or PurePosixPath(name).as_posix() != name:
        raise BrokenManifestError(f"{NAME} names {name!r}, which is not a path inside the checkpoint")
