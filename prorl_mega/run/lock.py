"""The lock of a run directory: a second process group is refused with the holder's name.

On the same machine a holder is gone when its process is. Elsewhere its signs of life decide: a holder touches the file
every few seconds. No clock of a node counts: the age of the last sign is told by the file system, from the difference
to a file that is touched now, and whatever it is, the file is watched for some time before it is taken over. Slurm can
shorten the wait, and it knows jobs that are suspended, which give no sign and go on later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from prorl_mega.errors import ConfigError

BEAT_S = 10.0  # between two signs of life
SILENT_BEATS, WATCHED_BEATS = 12, 3  # a holder is gone after so many without a sign, of which so many are watched
_SQUEUE_TIMEOUT_S = 20
_SUSPENDED = {"SUSPENDED", "STOPPED"}
_ENDED = {"", "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PENDING",
          "PREEMPTED", "REQUEUED", "REQUEUE_HOLD", "TIMEOUT"}  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Holder:
    """The process that holds a run. `started` (clock ticks since boot) tells it from a later one of the same pid."""

    host: str
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    started: Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
    job: str  # Slurm job id, empty outside Slurm
    attempt: str = ""  # of that job, which keeps its id when it is requeued
    machine: str = ""  # boot and process namespace: containers of different machines may have the same host name
    beat_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0  # between its signs of life; 0: none (version 0.1)

    @classmethod
    def this_process(cls) -> Holder:
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            pid=pid,
            started=_start_time(pid),
            job=os.environ.get("SLURM_JOB_ID", ""),
            attempt=os.environ.get("SLURM_RESTART_COUNT", ""),
            machine=_machine(),
            beat_s=BEAT_S,
        )

    def is_here(self) -> bool:
        """Whether its process belongs to this machine, which can therefore tell whether it lives."""
        return self.machine == _machine() or (not self.machine and self.host == socket.gethostname())

    def fate(self) -> str | None:
        """How it has ended, "" if it lives, both for certain; None if only its signs of life can tell."""
        here = Holder.this_process()
        if self.is_here():
            return "" if _start_time(self.pid) == self.started else "its process has ended"
        if self.job and self.job == here.job and self.attempt != here.attempt:
            return "its job was requeued as this one"
        state = job_state(self.job)
        if state in _SUSPENDED:
            return ""
        if self.beat_s == 0 and state in _ENDED:
            return f"Slurm says that job {self.job} is {state or 'over'}"
        return None if self.beat_s > 0 else ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (job {self.job})" if self.job else "")


class RunLock:
    """The file `LOCK` of a run directory: its content is the holder, empty means free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._me = Holder.this_process()
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None
        self.taken_by: Holder | None = None  # another process, which believed this one to be gone

    def acquire(self, report: Callable[[str], None] = lambda text: None) -> str:
        """Take the lock, also over from a process that has ended. Returns from whom and why, or "".

        Raises ConfigError that names a living holder. Calls `report` before it waits for a sign of life.
        """
        watched: tuple[int, bytes] | None = None  # the last sign of life, after which none has come
        reason: str | None = ""
        while True:
            with self._exclusively() as descriptor:
                sign = _touched(descriptor)
                holder = parse_holder(sign[1])
                if holder is None or holder == self._me:
                    reason = ""
                elif sign != watched:
                    reason = holder.fate()
                if holder is None or holder == self._me or reason:
                    self._write(descriptor, msgspec.json.encode(self._me))
                    break
            if reason is None:
                reason, watched = self._watch(holder, sign, report), sign
            if not reason:
                raise ConfigError(
                    f"{self._path.parent} is in use by {holder}. Wait for it, choose another name, or delete "
                    f"{self._path} if you are sure that it has ended."
                )
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, name="run lock", daemon=True)
            self._beating.start()
        return f"the run was left by {holder}: {reason}; it goes on here" if reason else ""

    def check(self) -> None:
        """Raise ConfigError when another process has taken the run over: this one was silent for too long."""
        if self.taken_by is not None:
            raise ConfigError(
                f"{self._path.parent} was taken over by {self.taken_by}, to which this process seemed to have ended; "
                "this one ends, and what it has saved is kept."
            )

    def release(self) -> None:
        """Free the lock, unless another process has taken it over in the meantime."""
        self._closed.set()
        if not self._path.exists():
            return
        with self._exclusively() as descriptor:
            if parse_holder(os.pread(descriptor, 4096, 0)) == self._me:
                self._write(descriptor, b"")

    def _beat(self) -> None:
        """Give signs of life, as long as the lock is this process's."""
        while not self._closed.wait(self._me.beat_s):
            with contextlib.suppress(OSError):  # storage that fails now and then must not end a run
                holder = parse_holder(self._path.read_bytes())
                if holder is not None and holder != self._me:
                    self.taken_by = holder
                    return
                os.utime(self._path)

    def _watch(self, holder: Holder, last: tuple[int, bytes], report: Callable[[str], None]) -> str:
        """Wait for a sign of life after `last`, as long as a living holder needs at most. "" if there is one; otherwise
        what says that it has ended."""
        ended = job_state(holder.job) in _ENDED
        age = self._age(last[0])
        wait = max(WATCHED_BEATS * holder.beat_s, 0.0 if ended else SILENT_BEATS * holder.beat_s - age)
        report(f"{self._path} is held by {holder}; waiting up to {wait:.0f} s for a sign of life …")
        until = time.monotonic() + wait
        while time.monotonic() < until:
            time.sleep(min(1.0, holder.beat_s / 4))
            descriptor = os.open(self._path, os.O_RDONLY)  # opening makes a network file system ask its server
            try:
                if _touched(descriptor) != last:
                    return ""
            finally:
                os.close(descriptor)
        job = f", and Slurm says that job {holder.job} is over" if ended else ""
        return f"no sign of life for {age + wait:.0f} s{job}"

    def _age(self, touched: int) -> float:
        """Seconds since then, nanoseconds in the clock of the file system."""
        probe = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            probe.touch()
            return max(0.0, (probe.stat().st_mtime_ns - touched) / 1e9)
        finally:
            probe.unlink(missing_ok=True)

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


def parse_holder(content: bytes) -> Holder | None:
    """The holder; None when the file is free or was left half-written by a crash."""
    try:
        return msgspec.json.decode(content, type=Holder)
    except (ValueError, RecursionError):
        return None


def _touched(descriptor: int) -> tuple[int, bytes]:
    """The time of the last touch, nanoseconds, and the content."""
    return os.fstat(descriptor).st_mtime_ns, os.pread(descriptor, 4096, 0)


def job_state(job: str) -> str | None:
    """The state of a Slurm job, "" when Slurm knows it no more; None without Slurm, or if it cannot be asked."""
    squeue = shutil.which("squeue")
    if not job.isdecimal() or squeue is None:
        return None
    command = [squeue, "--noheader", "--jobs", job, "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SQUEUE_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return "" if "Invalid job id" in done.stderr else None
    return done.stdout.strip().partition("\n")[0]


def _machine() -> str:
    """The boot of this machine and the namespace of its process numbers, within which they mean one thing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_time(pid: int) -> int:
    """The start time of a process on this host, clock ticks since boot; -1 when there is no such process."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    fields = content.rpartition(")")[2].split()  # the command name before it may contain anything
    return -1 if fields[0] in "ZX" else int(fields[19])
