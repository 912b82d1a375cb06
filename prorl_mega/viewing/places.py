"""Directories that are read and never left: no link is followed below a root, whoever put it there, whenever.

Every part of a path is opened by itself, inside the directory before it. So a folder that becomes a link while it is
being read leads nowhere, and a file that is a pipe or a device makes nobody wait.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prorl_mega.documents import BrokenDocumentError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True, frozen=True)
class Place:
    """A directory: `root`, which a user has named and which may lie behind links, and folders below it."""

    root: Path
    parts: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> Place:
        _check(name)
        return Place(self.root, (*self.parts, name))

    @property
    def path(self) -> Path:
        """The path for people; files are opened by the methods."""
        return self.root.joinpath(*self.parts)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the directory. Raises OSError if it is gone, or if a part below the root is a link."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in self.parts:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[tuple[int, os.stat_result]]:
        """A descriptor of a file and what it is. Raises OSError for what cannot be opened or is no regular file."""
        _check(name)
        with self.opened() as directory:
            descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise FileNotFoundError(f"{self.path / name} is not a regular file")
            yield descriptor, about
        finally:
            os.close(descriptor)

    def content(self, name: str, largest: int) -> bytes:
        """The bytes of a file. Raises OSError, and BrokenDocumentError for more than `largest`."""
        with self.file(name) as (descriptor, about):
            if about.st_size > largest:
                raise BrokenDocumentError(f"{about.st_size} bytes, more than the {largest} that such a file may have")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(largest)

    def names(self, most: int) -> list[str]:
        """The names in the directory, in no order, at most so many; none if it cannot be read."""
        names: list[str] = []
        with contextlib.suppress(OSError), self.opened() as directory, os.scandir(directory) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) >= most:
                    break
        return names

    def signature(self, name: str) -> tuple[int, ...] | None:
        """Numbers that change when the file does: inode, size and time of change; None if there is no such file."""
        try:
            with self.file(name) as (_, about):
                return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
        except OSError:
            return None


def _check(name: str) -> None:
    """A part of a path is a name and leads nowhere else."""
    assert name not in ("", ".", ".."), name
    assert "/" not in name, name
