"""Data files inside archives, read where they are: nothing is unpacked to the disk.

An archive with links, devices or names outside of itself is malicious. It is refused as a whole, although none of its
names is ever used as a path.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from prorl_mega.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError, RuntimeError)
# RuntimeError: a password, or a method of compression that Python lacks


def is_archive(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def members(path: Path) -> list[str]:
    """Names of all files in an archive. Raises DataError for one that is broken or malicious."""
    if _is_single(path):
        return [path.name.removesuffix(".gz")]
    with _explained(path):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                found = [(each.filename, each.external_attr >> 28 == 0xA) for each in archive.infolist()]
        else:
            with tarfile.open(path) as tar:
                found = [(each.name, not (each.isdir() or each.isreg())) for each in tar]
    for name, is_special in found:
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
            raise DataError(f"{path}: the archive names {name!r}, a place outside of it; it is not read")
        if is_special:
            raise DataError(f"{path}: the archive holds {name!r}, which is a link or a device; it is not read")
    return [name for name, _ in found]


@contextlib.contextmanager
def opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    """One file of an archive. Errors while it is read are raised as DataError."""
    with _explained(path), contextlib.ExitStack() as stack:
        if _is_single(path):
            file: Any = gzip.GzipFile(path)
        elif path.suffix == ".zip":
            file = stack.enter_context(zipfile.ZipFile(path)).open(member)
        else:
            file = stack.enter_context(tarfile.open(path)).extractfile(member)
        assert file is not None, "only regular files are listed"
        yield stack.enter_context(file)


def _is_single(path: Path) -> bool:
    return path.name.endswith(".gz") and not path.name.endswith(".tar.gz")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise DataError(f"{path}: not an archive that can be read: {type(error).__name__}: {error}") from None
