"""The files of a data set, from the place that a user names.

A place is a file or an archive of files, a pattern ("data/train-*.parquet"), a directory with files of one split, or a
data set of the Hugging Face hub: `hf:owner/name`, `hf:owner/name@revision`, `hf:owner/name/split` (or a folder of it,
for sets with configurations).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prorl_mega.data import archive
from prorl_mega.data.rows import READERS
from prorl_mega.errors import DataError

KINDS = tuple(READERS)
HUB = "hf:"
_PICKLED = {".pkl", ".pickle", ".p", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz", ".dill"}
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "validation": "validation",
    "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation",
}  # fmt: skip
_HUB_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?(?:/([\w./-]+))?")


@dataclass(kw_only=True, slots=True, frozen=True)
class Source:
    """One file; `name` is short for ids of rows, unique among the files of a data set."""

    path: Path
    name: str
    member: str = ""  # the file's name, if `path` is an archive

    @property
    def place(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def kind(self) -> str:
        return Path(self.place).suffix

    def open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        return archive.opened(self.path, self.member) if self.member else self.path.open("rb")

    def size(self) -> int:
        """Bytes of the file, or of the whole archive that holds it."""
        return self.path.stat().st_size


def find(place: str) -> list[Source]:
    """The files of a data set, sorted by name. Raises DataError for what is missing, ambiguous or not safe to read."""
    if place.startswith(HUB):
        return _from_hub(place)
    path = Path(place)
    if path.is_dir():
        return _one_split(_in_directory(path), place)
    if path.is_file() and archive.is_archive(path):
        names = sorted(archive.members(path))
        return _one_split([Source(path=path, name=name, member=name) for name in names], place)
    if path.is_file():
        found = [Source(path=path, name=path.name)]
    else:
        matches = sorted(map(Path, glob.glob(place, recursive=True))) if glob.has_magic(place) else []
        found = [Source(path=each, name=str(each)) for each in matches if each.is_file()]
    if not found:
        raise DataError(f"{place}: no such file" + (" matches" if glob.has_magic(place) else ""))
    for source in found:
        _refuse_unsafe(source.path)
    return found


def digest(sources: list[Source]) -> str:
    """Digest of the contents in order, not of names or times: a file that was moved or copied is the same."""
    total = hashlib.blake2b(digest_size=16)
    for path in dict.fromkeys(source.path for source in sources):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest())
    return total.hexdigest()


def _refuse_unsafe(path: Path) -> None:
    if path.suffix in _PICKLED:
        raise DataError(
            f"{path}: must be a .jsonl, .json or .parquet file; {path.suffix} files can hold pickled objects, and "
            "reading those runs code that is in them"
        )
    if path.suffix == ".py":
        raise DataError(f"{path}: is a program that would have to be run to get data; give the data as Parquet or JSON")
    if path.suffix not in KINDS:
        raise DataError(f"{path}: must be a .jsonl file, one JSON object per line, or .json, .parquet, .csv or .arrow")


def _in_directory(directory: Path) -> list[Source]:
    found = []
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            found.append(Source(path=path, name=inside.as_posix()))
    return found


def _one_split(sources: list[Source], place: str) -> list[Source]:
    """The data files of a directory or an archive.

    Raises DataError when they belong to several splits: training on a test split because it lay beside the training
    split must not happen by accident. An archive must not hold pickles at all.
    """
    found = [each for each in sources if _has_rows(each)]
    for each in sources:
        if (each.kind in _PICKLED and (each.member or not found)) or (each.kind == ".py" and not found):
            _refuse_unsafe(Path(each.place))
    if not found:
        raise DataError(f"{place}: has no .jsonl, .json, .csv or .parquet files")
    splits = sorted({split for source in found for split in _splits_of(source.name)})
    if len(splits) > 1:
        raise DataError(f"{place}: has the splits {', '.join(splits)}; name one, as a file, a folder or a pattern")
    folders = sorted({source.name.rpartition("/")[0] for source in found})
    if len(folders) > 1 and not splits:
        raise DataError(f"{place}: has data in the folders {', '.join(f or '.' for f in folders)}; name one of them")
    return found


def _has_rows(source: Source) -> bool:
    return source.kind in KINDS and Path(source.name).name not in _DESCRIPTIONS


def _splits_of(name: str) -> Iterator[str]:
    for part in name.split("/"):
        word = re.split(r"[-_.]", part)[0].lower()
        if word in _SPLITS:
            yield _SPLITS[word]


def _from_hub(place: str) -> list[Source]:
    match = _HUB_NAME.fullmatch(place)
    if match is None or ".." in place:
        raise DataError(f"{place}: data sets of the hub are written hf:owner/name, hf:owner/name@revision/split")
    name, revision, part = match.groups()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # Files of a split are called by one of its names; a folder or a file has its own name.
    names = [word for word, split in _SPLITS.items() if split == _SPLITS.get(part)] or [part or ""]
    wanted = [f"*{word}*{kind}" for word in names for kind in KINDS]
    try:
        directory = Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(f"{place}: cannot be downloaded: {str(error)[:300]}") from None
    if part is None or (directory / part).is_dir():
        return _one_split(_in_directory(directory / (part or "")), place)
    every = [source for source in _in_directory(directory) if _has_rows(source)]
    chosen = [source for source in every if source.name == part]
    chosen = chosen or [source for source in every if _SPLITS.get(part, part) in _splits_of(source.name)]
    if not chosen:
        raise DataError(f"{place}: has no {part!r}; it has {', '.join(source.name for source in every[:20])}")
    return chosen
