"""One sandbox process, seen from the host: start it, hand over a run, read how the run ended, kill it.

A run's input and output are memory files that the host makes and passes as descriptors. The input is sealed; the output
cannot outgrow the limit on file sizes. So nothing here waits for a program to read or write, and its output is read
when it is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import math
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence

import msgspec

from prorl_mega.sandbox.channel import BrokenMessageError, load
from prorl_mega.sandbox.guest.programs import COMPILE_STATUS, MEMORY_STATUS
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec
from prorl_mega.sandbox.job import Ending, Limits, ProgramKind, ProgramResult, ProgramRun
from prorl_mega.sandbox.processor_time import ProcessorTime, descendants

START_S = 120.0  # for the start of a sandbox on a loaded machine
DEATH_S = 5.0  # for the end of processes that have been killed; one that hangs in the kernel may take for ever
PATIENCE = 20  # times the wall limit, for a program that gets no processor: then it is over in any case
LOOK_S = 0.1  # between two looks at what a program uses
_MESSAGE = 1 << 16
_SLACK_S = 0.1  # of processor time above the limit, because clocks tick
_REPORTING_S = 1.0  # for the guest to say how a program ended
_DESCRIPTORS = 16, 64  # bounds of how many a program may have
_PIECE = 1 << 17  # bytes that a buffer of the kernel may take above its size, which it compares before it adds


class _GuestReply(msgspec.Struct, forbid_unknown_fields=True):
    """The guest's message that it is ready, or how a run ended (`error`: the program was never started)."""

    ready: bool = False
    error: str | None = None
    status: int | None = None  # of `wait`
    cpu: float = 0.0  # seconds
    memory: int = 0  # bytes


class SandboxError(Exception):
    """The sandbox itself failed; says nothing about the program."""


class SandboxWorker:
    """One sandbox. It starts at once and is `ready` when it may be given a run; at most one run at a time."""

    def __init__(self, spec: SandboxSpec) -> None:
        """Start the sandbox. Raises SandboxError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept: list[int] = []
        try:
            kept = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in spec.keep]
            with theirs:
                self.process = subprocess.Popen(
                    [part.format(*kept) if part.startswith("{") else part for part in spec.command],
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
            raise SandboxError(f"the sandbox did not start: {error}") from None
        finally:
            for descriptor in kept:
                os.close(descriptor)
        with contextlib.suppress(OSError):  # if it has ended already, `receive` finds out and says why
            ours.send(json.dumps(spec.configuration).encode())
        self._tier = spec.tier
        self.control = ours
        self.ready = False
        self.run: ProgramRun | None = None
        self.deadline = time.monotonic() + START_S
        self._time: ProcessorTime | None = None  # of the run
        self._began = 0.0
        self._dying: list[int] = []  # descriptors of processes that have been killed
        self._files: list[int] = []  # program, standard input, output and error, result
        self._partners_time: ProcessorTime | None = None
        self._guest = self.process.pid

    def start(self, run: ProgramRun, pipes: tuple[int, int] | None) -> None:
        """Hand over a run; `pipes` are its standard input and its result, in place of memory files (not closed here).

        Raises SandboxError.
        """
        assert self.ready
        assert self.run is None
        self._files = [
            _sealed(run.program if run.program is not None else json.dumps(run.job).encode()),
            _sealed(run.stdin) if pipes is None else os.dup(pipes[0]),
            _memory(),
            _memory(),
            _memory() if pipes is None else os.dup(pipes[1]),
        ]
        request = {"kind": run.kind.value, "scratch": run.limits.scratch, "limits": _limits(run.limits)}
        self.run, self._partners_time = run, None
        self._time, self._began = ProcessorTime(self._guest), time.monotonic()
        self.deadline = self._began + min(LOOK_S, run.limits.wall_s)
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], self._files)
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from None

    def wait_for(self, partner: SandboxWorker) -> None:
        """Add what the run of `partner`, which is at the other end of the pipes, waits for a processor to the limit."""
        self._partners_time = partner._time

    def receive(self) -> ProgramResult | None:
        """Read one message of the guest: it is ready (None), or the run has ended. Raises SandboxError."""
        try:
            message = self.control.recv(_MESSAGE)
            reply = load(message, _GuestReply) if message else None
        except (OSError, BrokenMessageError) as error:
            raise SandboxError(f"the sandbox sent an invalid message: {error}") from None
        if reply is None:
            raise SandboxError(f"the sandbox ended ({self.stderr_end()})")
        if reply.ready and not self.ready:
            self.ready = True
            if self._tier is IsolationTier.BUBBLEWRAP:  # the guest is the only child of what was started
                self._guest = next(iter(descendants(self.process.pid)), self.process.pid)
            return None
        if self.run is None:
            raise SandboxError("the sandbox answered without having been asked")
        if reply.status is None:
            raise SandboxError((reply.error or "the sandbox sent an invalid message: no status")[:300])
        result = _result(self.run, self._files, reply.status, reply.cpu, reply.memory)
        self._forget_run()
        return result

    def overdue(self, now: float) -> str | None:
        """The reason to end the run now, or None. What it waited for a processor is added to its wall limit."""
        if now < self.deadline:
            return None
        if self.run is None or self._time is None:
            return None if self.ready else "the sandbox did not get ready"
        limits = self.run.limits
        self._time.look()
        starved = self._time.starved
        if self._partners_time is not None:
            starved += self._partners_time.starved  # this run waits for it, within its own limits
        end = min(self._began + limits.wall_s + starved, self._began + PATIENCE * limits.wall_s)
        if self._time.used > limits.cpu_s + _SLACK_S:
            return f"{limits.cpu_s:g} s of processor time"
        if now >= end + (0.0 if self._time.running else _REPORTING_S):
            return f"{limits.wall_s:g} s"
        self.deadline = now + min(LOOK_S, max(0.02, end - now))
        return None

    def kill(self) -> None:
        """Send every process of the sandbox the last signal, without waiting, and forget the run."""
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._dying.append(os.pidfd_open(pid))
                signal.pidfd_send_signal(self._dying[-1], signal.SIGKILL)
        self.control.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._forget_run()
        self.ready = False
        self.deadline = time.monotonic() + DEATH_S

    def remains(self) -> list[int]:
        """Descriptors that become readable when processes end which have been killed; empty when all have."""
        for descriptor in self._dying[:]:
            if select.select([descriptor], [], [], 0)[0]:
                os.close(descriptor)
                self._dying.remove(descriptor)
        self.process.poll()  # reaps it
        return self._dying

    def abandon(self) -> None:
        """Wait no longer for what remains."""
        while self._dying:
            os.close(self._dying.pop())

    def _forget_run(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self.run, self._files = None, []

    def stderr_end(self) -> str:
        """The end of what the sandbox itself, not a program in it, wrote to its standard error."""
        if self.process.stderr is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        os.set_blocking(self.process.stderr.fileno(), False)
        words = self.process.stderr.read() or b""
        return words.decode("utf-8", "replace").strip()[-300:] or f"status {self.process.poll()}"


def start_together(
    workers: Sequence[SandboxWorker], runs: Sequence[ProgramRun]
) -> list[tuple[SandboxWorker, SandboxError]]:
    """Start one run, or two that read each other's results. Returns the sandboxes that failed."""
    failed = []
    ends = [os.pipe() for _ in runs] if len(runs) == 2 else []
    for index, (worker, run) in enumerate(zip(workers, runs, strict=True)):
        pipes = (ends[1 - index][0], ends[index][1]) if ends else None
        try:
            worker.start(run, pipes)
        except SandboxError as error:
            failed.append((worker, error))
    if ends:
        workers[0].wait_for(workers[1])
        workers[1].wait_for(workers[0])
    for descriptor in itertools.chain(*ends):
        os.close(descriptor)
    return failed


def _limits(limits: Limits) -> dict[str, int]:
    """The limits by name, in the order in which the guest sets them."""
    return {
        "CPU": math.ceil(limits.cpu_s + _SLACK_S),
        "NPROC": limits.threads,
        "NOFILE": _descriptors(limits.memory),
        "FSIZE": limits.output,
        "STACK": limits.stack,
        "CORE": 0,
        "AS": limits.memory,
    }


def _descriptors(memory: int) -> int:
    """How many descriptors keep the kernel's buffers of pipes and sockets below a tenth of `memory`."""
    least, most = _DESCRIPTORS
    return max(least, min(most, memory // 10 // (_socket_buffer() + _PIECE)))


@functools.cache
def _socket_buffer() -> int:
    """Bytes that the kernel keeps of what one end of a pair of sockets has written."""
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/net/core/wmem_default", "rb") as file:
        return int(file.read())
    return 1 << 18


def _result(run: ProgramRun, files: list[int], status: int, cpu: float, memory: int) -> ProgramResult:
    limit = run.limits.output
    conversing = run.kind in (ProgramKind.SERVE, ProgramKind.TESTS)
    stdout, stderr = os.pread(files[2], limit, 0), os.pread(files[3], limit, 0)
    result = b"" if conversing else os.pread(files[4], limit, 0)
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
    return ProgramResult(
        ending=ending,
        stdout=stdout,
        stderr=stderr,
        result=result,
        detail=detail,
        cpu_s=cpu,
        memory=memory,
    )


def _memory() -> int:
    return os.memfd_create("run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _sealed(data: bytes) -> int:
    """A read-only memory file with `data`."""
    descriptor = _memory()
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
