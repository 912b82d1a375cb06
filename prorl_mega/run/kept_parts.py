"""The parts of an evaluation that are finished, on disk until all of them are: `evaluation/<identity>.part`.

One record per part: its length (8 bytes), its BLAKE3 (32 bytes), its bytes. Every record is forced to the disk; what a
crash leaves half-written is cut off. The identity is a hash of everything that the results depend on, so a file is
either of use to the evaluation that asks for it, or not found. Rank 0 alone has the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.storage import fsync_path, storage_errors

SUFFIX = ".part"
_LENGTH, _DIGEST = 8, 32  # bytes


class KeptParts:
    """The file of one evaluation, which need not exist. Methods are collective."""

    def __init__(self, directory: Path, identity: str, ranks: Ranks) -> None:
        self._path = directory / f"{identity}{SUFFIX}"
        self._ranks = ranks
        self._end = 0  # of the records that are whole

    def read(self) -> list[bytes]:
        """The records on rank 0, in the order they were added, up to the first that is damaged; elsewhere none."""
        content = b""
        doing = f"reading {self._path}"
        with self._ranks.raise_on_all_ranks(doing), storage_errors(doing):
            if self._ranks.is_first and self._path.exists():
                content = self._path.read_bytes()
        records = []
        self._end = 0
        while (start := self._end + _LENGTH + _DIGEST) <= len(content):
            length = int.from_bytes(content[self._end : self._end + _LENGTH], "little")
            record = content[start : start + length]
            if len(record) < length or blake3(record).digest() != content[start - _DIGEST : start]:
                break
            records.append(record)
            self._end = start + length
        return records

    def append(self, record: bytes) -> None:
        """Add rank 0's record after those that were read or added before."""
        doing = f"writing {self._path}"
        with self._ranks.raise_on_all_ranks(doing), storage_errors(doing):
            if self._ranks.is_first:
                self._write(len(record).to_bytes(_LENGTH, "little") + blake3(record).digest() + record)

    def _write(self, content: bytes) -> None:
        is_new = not self._path.exists()
        with self._path.open("wb" if is_new else "r+b") as file:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()
        if is_new:
            fsync_path(self._path.parent)


def remove_kept_parts(directory: Path) -> None:
    """Delete the finished parts of all evaluations in `directory`."""
    for path in directory.glob(f"*{SUFFIX}"):
        path.unlink(missing_ok=True)
