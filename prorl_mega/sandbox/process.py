"""One sandbox process, seen from the host: start, hand over a run, hear how it ended, kill.

A run's input and output are memory files that the host makes and passes as descriptors. The input is sealed; the output
cannot outgrow the limit on file sizes. So nothing here waits for what a program does or does not read or write, and
what it writes on any descriptor is read when it is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from prorl_mega.sandbox.guest import COMPILE_STATUS, MEMORY_STATUS
from prorl_mega.sandbox.isolation import Launch, Tier
from prorl_mega.sandbox.job import Ending, Kind, Limits, Result, Run

START_S = 120.0  # for the start of a sandbox on a loaded machine
PATIENCE = 20  # times the wall limit, for a program that is ready to run and gets no processor
_MESSAGE = 1 << 16
_SLACK_S = 0.1  # of processor time above the limit, because clocks tick


class CellError(Exception):
    """The sandbox itself failed; says nothing about the program."""


@dataclass(kw_only=True, slots=True)
class _Files:
    program: int
    stdin: int
    stdout: int
    stderr: int
    result: int

    def numbers(self) -> list[int]:
        return [self.program, self.stdin, self.stdout, self.stderr, self.result]

    def close(self) -> None:
        for descriptor in self.numbers():
            os.close(descriptor)


class Cell:
    """Starts at once; `ready` when it may be given a run. At most one run at a time."""

    def __init__(self, launch: Launch) -> None:
        """Raises CellError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept: list[int] = []
        try:
            kept = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in launch.keep]
            with theirs:
                self.process = subprocess.Popen(
                    [part.format(*kept) if part == "{0}" else part for part in launch.command],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=kept,
                    env={"PATH": os.defpath, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise CellError(f"the sandbox did not start: {error}") from None
        finally:
            for descriptor in kept:
                os.close(descriptor)
        with contextlib.suppress(OSError):  # if it has ended already, `receive` finds out and says why
            ours.send(json.dumps(launch.configuration).encode())
        self._tier = launch.tier
        self.control = ours
        self.ready = False
        self.run: Run | None = None
        self.deadline = time.monotonic() + START_S
        self._last_deadline = self.deadline
        self._files: _Files | None = None
        self._partner: Cell | None = None

    def start(self, run: Run, stdin: int | None = None, result: int | None = None, partner: Cell | None = None) -> None:
        """Hand over a run; `stdin` and `result` are descriptors to use instead of memory files (not closed here).

        `partner` is the sandbox at the other end of these descriptors.
        """
        assert self.ready
        assert self.run is None
        files = _Files(
            program=_sealed(run.program if run.program is not None else json.dumps(run.job).encode()),
            stdin=_sealed(run.stdin) if stdin is None else os.dup(stdin),
            stdout=_memory(),
            stderr=_memory(),
            result=_memory() if result is None else os.dup(result),
        )
        request = {"kind": run.kind.value, "scratch": run.limits.scratch, "limits": _limits(run.limits)}
        self.run, self._files, self._partner = run, files, partner
        self.deadline = time.monotonic() + run.limits.wall_s
        self._last_deadline = time.monotonic() + PATIENCE * run.limits.wall_s
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], files.numbers())
        except OSError as error:
            raise CellError(f"the sandbox is gone: {error}") from None

    def receive(self) -> Result | None:
        """What the guest has to say: it is ready (None), or the run has ended. Raises CellError."""
        try:
            message = self.control.recv(_MESSAGE)
            reply = json.loads(message) if message else None
        except (OSError, ValueError) as error:
            raise CellError(f"the sandbox sent nonsense: {error}") from None
        if reply is None:
            raise CellError(f"the sandbox ended ({self.last_words()})")
        if reply.get("ready") is True and not self.ready:
            self.ready = True
            return None
        if self.run is None or self._files is None:
            raise CellError("the sandbox answered without having been asked")
        if "error" in reply:
            raise CellError(str(reply["error"])[:300])
        run, self.run = self.run, None
        files, self._files = self._files, None
        try:
            return _result(run, files, reply)
        finally:
            files.close()

    def overdue(self, now: float) -> str | None:
        """Why the run should be ended now, or None: it is not late, or it would run if the machine let it."""
        if self.run is None or not self.ready or now < self.deadline:
            return None if self.ready or now < self.deadline else "the sandbox did not get ready"
        limits = self.run.limits
        used, runnable = usage(self._guest())
        if self._partner is not None and self._partner.run is not None and not runnable:
            runnable = usage(self._partner._guest())[1]  # it is waited for, as long as its own limits allow
        if used > limits.cpu_s + _SLACK_S:
            return f"{limits.cpu_s:g} s of processor time"
        if not runnable or now >= self._last_deadline:
            return f"{limits.wall_s:g} s"
        self.deadline = min(self._last_deadline, now + max(0.2, limits.cpu_s - used))
        return None

    def kill(self) -> None:
        """End every process of the sandbox and forget the run."""
        for pid in (*descendants(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.control.close()
        if self._files is not None:
            self._files.close()
        self.run = self._files = None
        self.ready = False

    def _guest(self) -> int:
        """The process that forks the programs; behind bubblewrap it is the only child of what was started."""
        if self._tier is not Tier.BUBBLEWRAP:
            return self.process.pid
        return next(iter(descendants(self.process.pid)), self.process.pid)

    def last_words(self) -> str:
        """The end of what the sandbox itself, not a program in it, wrote to its standard error."""
        if self.process.stderr is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        os.set_blocking(self.process.stderr.fileno(), False)
        words = self.process.stderr.read() or b""
        return words.decode("utf-8", "replace").strip()[-300:] or f"status {self.process.poll()}"


def _limits(limits: Limits) -> dict[str, int]:
    """Names and values as the guest sets them, in this order."""
    return {
        "CPU": math.ceil(limits.cpu_s + _SLACK_S),
        "NPROC": limits.threads,
        "NOFILE": 64,
        "FSIZE": limits.output,
        "STACK": limits.stack,
        "CORE": 0,
        "AS": limits.memory,
    }


def _result(run: Run, files: _Files, reply: dict[str, Any]) -> Result:
    limit = run.limits.output
    conversing = run.kind in (Kind.SERVE, Kind.TESTS)
    stdout, stderr = _contents(files.stdout, limit), _contents(files.stderr, limit)
    result = b"" if conversing else _contents(files.result, limit)
    cpu, status = float(reply["cpu"]), int(reply["status"])
    ending, detail = Ending.FINISHED, ""
    if cpu > run.limits.cpu_s + _SLACK_S:
        ending, detail = Ending.TIME_LIMIT, f"{run.limits.cpu_s:g} s of processor time"
    elif max(len(stdout), len(stderr), len(result)) >= limit:
        ending, detail = Ending.OUTPUT_LIMIT, f"{limit} bytes"
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = number in (signal.SIGXCPU, signal.SIGKILL) and cpu > 0.9 * run.limits.cpu_s
        ending = Ending.TIME_LIMIT if late else Ending.RUNTIME_ERROR
        detail = f"signal {number}"
    elif (code := os.WEXITSTATUS(status)) != 0:
        known = {MEMORY_STATUS: Ending.MEMORY_LIMIT, COMPILE_STATUS: Ending.COMPILE_ERROR}
        ending = known.get(code, Ending.RUNTIME_ERROR)
        words = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        detail = f"exit code {code} {words[:200]}".strip()
    return Result(
        ending=ending,
        stdout=stdout,
        stderr=stderr,
        result=result,
        detail=detail,
        cpu_s=cpu,
        memory=int(reply["memory"]),
    )


def _memory() -> int:
    return os.memfd_create("run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _sealed(data: bytes) -> int:
    """A memory file that nobody can change any more."""
    descriptor = _memory()
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _contents(descriptor: int, limit: int) -> bytes:
    return os.pread(descriptor, limit, 0)


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as far as they can be seen at this moment."""
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        with contextlib.suppress(OSError), open(f"/proc/{each}/task/{each}/children", "rb") as file:
            children = [int(word) for word in file.read().split()]
            found += children
            todo += children
    return found


def usage(guest: int) -> tuple[float, bool]:
    """Processor time in seconds of the program below `guest`, and whether a thread of it wants to run.

    Without a program below it, the guest is reporting how one ended: it wants to run, and its word is waited for.
    """
    programs = descendants(guest)
    used, runnable = 0.0, not programs
    for pid in programs:
        with contextlib.suppress(OSError):
            used += sum(map(int, _stat(f"/proc/{pid}/stat")[11:15])) / os.sysconf("SC_CLK_TCK")  # and ended children's
            threads = os.listdir(f"/proc/{pid}/task")
            runnable = runnable or any(_stat(f"/proc/{pid}/task/{each}/stat")[0] in (b"R", b"D") for each in threads)
    return used, runnable


def _stat(path: str) -> list[bytes]:
    with open(path, "rb") as file:
        return file.read().rpartition(b")")[2].split()
