"""The lock of a run directory: a second process group is refused with the holder's name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from prorl_mega.errors import ConfigError


@dataclass(kw_only=True, slots=True, frozen=True)
class Holder:
    """The process that holds a run. `started` (clock ticks since boot) tells it from a later one of the same pid."""

    host: str
    pid: int
    started: int
    job: str  # Slurm job id, empty outside Slurm

    @classmethod
    def this_process(cls) -> Holder:
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(host=socket.gethostname(), pid=pid, started=_start_time(pid), job=job)

    def is_gone(self) -> bool:
        """Whether the holder has certainly ended. On another host only a requeue of the same job proves it."""
        here = Holder.this_process()
        if self.host != here.host:
            return self.job != "" and self.job == here.job
        return _start_time(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (job {self.job})" if self.job else "")


class RunLock:
    """The file `LOCK` of a run directory: its content is the holder, empty means free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._me = Holder.this_process()

    def acquire(self) -> None:
        """Take the lock, also over from a process that has died. Raises ConfigError that names a living holder."""
        with self._exclusively() as descriptor:
            holder = _parse(os.pread(descriptor, 4096, 0))
            if holder is not None and holder != self._me and not holder.is_gone():
                raise ConfigError(
                    f"{self._path.parent} is in use by {holder}. Wait for it, choose another name, or delete "
                    f"{self._path} if you are sure that it has ended."
                )
            self._write(descriptor, msgspec.json.encode(self._me))

    def release(self) -> None:
        """Free the lock, unless another process has taken it over in the meantime."""
        if not self._path.exists():
            return
        with self._exclusively() as descriptor:
            if _parse(os.pread(descriptor, 4096, 0)) == self._me:
                self._write(descriptor, b"")

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[int]:
        """The open file, with other processes kept out while its content is read and replaced."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with contextlib.suppress(OSError):  # some network file systems have no such locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _write(descriptor: int, content: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        os.fsync(descriptor)


def _parse(content: bytes) -> Holder | None:
    """The holder; None when the file is free or was left half-written by a crash."""
    try:
        return msgspec.json.decode(content, type=Holder)
    except ValueError:
        return None


def _start_time(pid: int) -> int:
    """The start time of a process on this host, clock ticks since boot; -1 when there is no such process."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    fields = content.rpartition(")")[2].split()  # the command name before it may contain anything
    return -1 if fields[0] in "ZX" else int(fields[19])
