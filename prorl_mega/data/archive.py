"""Data files inside archives, read where they are: nothing is unpacked to the disk.

An archive with links, devices or names outside of itself is malicious. It is refused as a whole, although none of its
names is ever used as a path.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
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
INFLATED = 100  # times the archive's size is what may be read from it, and
ALWAYS = 64 << 20  # bytes in any case; texts are compressed to a tenth, bombs to a thousandth
_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class InflatedFile(io.RawIOBase):
    """The content of an archive, up to a bound on the place that is read. Raises DataError beyond it."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._most = INFLATED * path.stat().st_size + ALWAYS

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(min(len(buffer), 1 << 20))
        self._check(self._file.tell())
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:  # which the file finds out by unpacking itself
            while self._file.read(1 << 20):
                self._check(self._file.tell())
        else:
            self._check(offset + (self._file.tell() if whence == io.SEEK_CUR else 0))
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _check(self, place: int) -> None:
        if place > self._most:
            raise DataError(
                f"{self._path}: unpacks to more than {self._most} bytes, {INFLATED} times its size and {ALWAYS >> 20} "
                "MiB; if that is what it should be, unpack it and name the file"
            )


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
            with _tar(path) as tar:
                found = [(each.name, not (each.isdir() or each.isreg()) or each.issparse()) for each in tar]
    for name, is_special in found:
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
            raise DataError(f"{path}: the archive names {name!r}, a place outside of it; it is not read")
        if is_special:
            raise DataError(
                f"{path}: the archive holds {name!r}, which is a link or a device, or full of holes; it is not read"
            )
    return [name for name, _ in found]


@contextlib.contextmanager
def opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    """One file of an archive. Errors while it is read are raised as DataError."""
    with _explained(path), contextlib.ExitStack() as stack:
        if _is_single(path):
            yield stack.enter_context(_bounded(gzip.GzipFile(path), path))
        elif path.suffix == ".zip":
            yield stack.enter_context(_bounded(stack.enter_context(zipfile.ZipFile(path)).open(member), path))
        else:
            file = stack.enter_context(_tar(path)).extractfile(member)
            assert file is not None, "only regular files are listed"
            yield stack.enter_context(file)


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar file. Its list of names alone can be a bomb, so it is bounded before anything is read."""
    with path.open("rb") as file:
        start = file.read(6)
    opens = next((opens for magic, opens in _MAGIC.items() if start.startswith(magic)), open)
    with _bounded(opens(path, "rb"), path) as inflated, tarfile.open(fileobj=inflated, mode="r:") as tar:
        yield tar


def _bounded(file: Any, path: Path) -> io.BufferedReader:
    return io.BufferedReader(InflatedFile(file, path), 1 << 16)


def _is_single(path: Path) -> bool:
    return path.name.endswith(".gz") and not path.name.endswith(".tar.gz")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise DataError(f"{path}: not an archive that can be read: {type(error).__name__}: {error}") from None
