"""A verifier process: reads answers from standard input, scores them one by one, writes verdicts to standard output.

Started by `VerifierPool` as `python -m prorl_mega.verifiers.worker PARENT_PID`. Scorers of third parties evaluate
what a model wrote, so the process gives up what it does not need before the first answer: memory and file-size limits,
no new processes (a task starts those that it needs before that), no network, no files but for reading, and it dies with
its parent. This stops accidents and crude attacks; it is no boundary against code written to defeat it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import sys
import time
from typing import Any

from prorl_mega.sandbox.channel import Inbox, encode
from prorl_mega.tasks.registry import Task, create
from prorl_mega.types import Problem

FILE_SIZE = 1 << 20  # bytes that may be written to one file (the error log)
_PR_SET_PDEATHSIG = 1
_FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill", "os.killpg",
              "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
              "subprocess.Popen", "socket.", "pty.spawn", "signal.pthread_kill", "ctypes.dlopen")  # fmt: skip


def main() -> None:
    parent = int(sys.argv[1])
    die_with(parent)
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # what a scorer prints must not reach the pool
    serve(source, sink)


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies; end at once when it is dead already.

    For the kernel the parent is the thread that started us: a pool belongs to a thread that lives as long as the pool.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def limit(memory: int) -> None:
    """`memory`: bytes of address space."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))


def serve(source: int, sink: int) -> None:
    """Answer messages until the other end of the pipe is closed."""
    inbox = Inbox()
    tasks: dict[str, Task] = {}
    warm: set[str] = set()
    timeout = 0.0
    confined = False
    while data := os.read(source, 1 << 16):
        for message in inbox.feed(data):
            if "entries" in message:
                timeout = message["timeout"]
                for module in message["modules"]:
                    importlib.import_module(module)
                for entry, each in message["entries"].items():
                    tasks[entry] = create(each["name"], entry, each["options"])
                    tasks[entry].start()
                limit(message["memory"])
                _send(sink, {"ready": True})
                continue
            for job in message["jobs"]:
                entry = job["problem"]["task"]
                if entry not in warm:
                    _send(sink, {"warming": entry})
                    tasks[entry].warm_up()
                    warm.add(entry)
                    _send(sink, {"warm": entry})
                if not confined:
                    sys.addaudithook(_refuse)
                    confined = True
                _bound_processor_time(timeout)
                tasks[entry].progress = lambda: _send(sink, {"working": True})
                _send(sink, {"id": job["id"], **score(tasks[entry], job)})


def score(task: Task, job: dict[str, Any]) -> dict[str, Any]:
    """The verdict as plain data, or what went wrong in the scorer."""
    try:
        verdict = task.score(Problem(**job["problem"]), job["answer"])
        return {
            "reward": float(verdict.reward),
            "outcome": verdict.outcome.value,
            "detail": str(verdict.detail)[:200],
        }
    except BaseException as error:  # a scorer may raise SystemExit or a time-out that is no Exception
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}


def _send(sink: int, message: dict[str, Any]) -> None:
    """`processor` lets the pool tell a worker that hangs from one that a busy machine does not let run."""
    data = encode({**message, "processor": time.process_time()})
    while data:
        data = data[os.write(sink, data) :]


def _bound_processor_time(seconds: float) -> None:
    """SIGXCPU some time after the parent should have killed us: it may be stopped or starved."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime + 2 * seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.RLIM_INFINITY))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: what no scorer needs. Cannot be removed once it is installed."""
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is not allowed while answers are scored")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise PermissionError("writing files is not allowed while answers are scored")


if __name__ == "__main__":
    main()
