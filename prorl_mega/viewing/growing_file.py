"""A file of lines that another process adds to: what is new in it, whatever happens to it.

A run that goes on after a crash cuts its files and writes them anew, under another inode or, copied by a tool, the
same one. So the file counts as the one that was read before only if its inode is the same, it is not shorter, and the
bytes before the place where reading stopped are still there.
"""

from __future__ import annotations

import os

from prorl_mega.run.jsonl import LONGEST_LINE
from prorl_mega.viewing.places import Place

CHUNK = 1 << 20  # bytes that are read at a time
_REMEMBERED = 256  # bytes before the place where reading stopped


class GrowingFile:
    """The file `name` of a place, which need not exist."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self.beginnings = 0  # how often reading began anew, which makes everything before it void
        self.is_at_end = False
        self._forget()

    def _forget(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._changed = -1  # ns
        self._offset = 0
        self._before = b""
        self._in_long_line = False

    def read(self) -> list[bytes]:
        """The whole lines that are new, of about CHUNK bytes; none at the end, where half a line may lie.

        When `beginnings` has risen, they are the first of the file. Raises no errors: a file that cannot be read is
        one that is not there.
        """
        try:
            with self._place.file(self._name) as (descriptor, about):
                return self._read(descriptor, about)
        except OSError:
            self.is_at_end = True
            if self._identity is not None:
                self.beginnings += 1
                self._forget()
            return []

    def _read(self, descriptor: int, about: os.stat_result) -> list[bytes]:
        identity, size = (about.st_dev, about.st_ino), about.st_size
        if self._identity is None:
            self._identity = identity
        elif (size, about.st_mtime_ns) != (self._offset, self._changed) or identity != self._identity:
            start = self._offset - len(self._before)
            if identity != self._identity or os.pread(descriptor, len(self._before), start) != self._before:
                self.beginnings += 1
                self._forget()
                self._identity = identity
        self._changed = about.st_mtime_ns
        content = os.pread(descriptor, CHUNK, self._offset)
        if len(content) == CHUNK and b"\n" not in content and not self._in_long_line:
            content = os.pread(descriptor, LONGEST_LINE, self._offset)
        end = content.rfind(b"\n") + 1
        if end == 0 and len(content) >= (CHUNK if self._in_long_line else LONGEST_LINE):
            self._in_long_line = True  # its rest is no line either
            end = len(content)
            lines = []
        else:
            lines = content[:end].splitlines()
            if self._in_long_line and end:
                self._in_long_line = False
                del lines[0]
        self._before = (self._before + content[:end])[-_REMEMBERED:]
        self._offset += end
        self.is_at_end = self._offset + len(content) - end >= size
        return lines
