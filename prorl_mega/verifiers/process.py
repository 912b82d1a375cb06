"""One verifier process as the pool sees it: pipes that are read and written without blocking, and deadlines."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections import deque

from prorl_mega.sandbox.channel import Inbox, start_child
from prorl_mega.sandbox.processor_time import read_stat
from prorl_mega.verifiers.batch import Job
from prorl_mega.verifiers.messages import WorkerReply

STARTUP_S = 120.0  # for the start of a worker and for the imports of one task, on a loaded machine
PATIENCE = 30  # times the time-out, for a worker that is ready to run and gets no processor
_PIPE = 1 << 20  # bytes; the kernel's default of 64 KiB is less than one chunk of long answers


class VerifierWorker:
    """A verifier process with its pipes and the answers it was given. Starts at once.

    Its environment holds no secrets, one thread and a fixed hash seed.
    """

    def __init__(self, request: bytes) -> None:
        """Start the process; `request` is the first message that it reads."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (its standard error; closed when it is stopped)
        self.process = start_child(
            "prorl_mega.verifiers.worker",
            stderr=self._log,
            PYTHONHASHSEED=os.environ.get("PYTHONHASHSEED", "0"),
            PYTHONDONTWRITEBYTECODE="1",
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.source, self.sink = self.process.stdout.fileno(), self.process.stdin.fileno()
        os.set_blocking(self.sink, False)
        with contextlib.suppress(OSError):  # a user's pipes are limited together; a small one only takes longer
            fcntl.fcntl(self.sink, fcntl.F_SETPIPE_SZ, _PIPE)
        self.outgoing = request
        self.inbox = Inbox(WorkerReply)
        self.jobs: deque[Job] = deque()
        self.ready = False
        self.answered = 0
        self.deadline = self.last_deadline = time.monotonic() + STARTUP_S  # the last one holds however busy the machine
        self.processor_s = 0.0  # its processor time when the current answer began

    def start_clock(self, timeout: float) -> None:
        """Start the time limit of its next answer."""
        now = time.monotonic()
        self.deadline, self.last_deadline = now + timeout, now + PATIENCE * timeout

    def is_starved(self, now: float, timeout: float) -> bool:
        """Whether it is late only because it got no processor. Its deadline is then put off by its unused time."""
        used = _processor_time(self.process.pid)
        left = 0.0 if used is None else self.processor_s + timeout - used
        if left <= 0.0 or now >= self.last_deadline:
            return False
        self.deadline = min(self.last_deadline, now + max(left, 0.05))
        return True

    def write(self) -> None:
        """Write as much as its pipe takes."""
        try:
            self.outgoing = self.outgoing[os.write(self.sink, self.outgoing) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.outgoing = b""  # it is dead; the reading side finds out and says why

    def stop(self) -> str:
        """Kill and reap it. Returns the last line of its standard error, or how it ended."""
        with self.process:  # closes its pipes and reaps it
            self.process.kill()
        code = self.process.returncode
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 300))
        line = self._log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self._log.close()
        return line or (f"signal {-code}" if code < 0 and code != -9 else f"exit code {code}" if code > 0 else "")


def _processor_time(pid: int) -> float | None:
    """Seconds of processor time of a process that is running or ready to; None when it sleeps, or cannot be seen."""
    try:
        fields = read_stat(f"{pid}")
    except OSError:
        return None
    return None if fields[0] != b"R" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
