"""The inside of a sandbox: a trusted parent that forks one confined child per program. Standard library only.

Runs in an interpreter of its own, without the rest of the package (`__main__.py`). File descriptor 0 is a socket to the
host. The first message says how children are to be confined; each further one is a run: what kind, which limits, and
five descriptors (program, standard input, output, error, result). The parent never reads them, so the next
program does not inherit anything of it in memory. A child serves one run and exits.

Everything after `confine` in a child may be changed by the program: the host does not trust its output.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import site
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from prorl_mega.sandbox.guest.assertions import run_tests
from prorl_mega.sandbox.guest.confinement import check, confine, libc, restrict_files
from prorl_mega.sandbox.guest.conversation import serve_calls
from prorl_mega.sandbox.guest.devices import keep_stack, name_streams
from prorl_mega.sandbox.guest.programs import PRELUDE, RESULT, execute, run_call, run_compiler, run_script

_PROGRAM, _READY = 3, 5  # descriptors of a child, next to 0, 1 and 2 and `RESULT`
_NEW_PIDS = 0x2000_0000


def main() -> NoReturn:
    """Serve runs until the host closes the socket."""
    control = socket.socket(fileno=os.dup(0))
    configuration = json.loads(control.recv(1 << 20))
    check("prctl", libc.prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL
    if configuration["parent"] and os.getppid() != configuration["parent"]:
        os._exit(1)
    site.setquit()  # programs call exit()
    namespace: dict[str, Any] = {}
    execute(PRELUDE, "prelude.py", namespace)
    for module in ("decimal", "fractions", "io", "queue", "statistics", "datetime", "time", "array", "cmath"):
        __import__(module)
    keep_stack()
    name_streams()  # before packages take note of `open`
    _import_packages(**configuration.get("packages", {}))
    if configuration["landlock"]:
        check("prctl", libc.prctl(38, 1, 0, 0, 0))
        restrict_files(configuration["landlock"])
    own_pids = os.pidfd_open(os.getpid()) if configuration["namespaces"] else -1
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 5)
        if not message:
            os._exit(0)
        request = {**configuration, **json.loads(message)}
        control.send(json.dumps(_run(request, descriptors, own_pids)).encode())


def _import_packages(paths: Sequence[str] = (), names: Sequence[str] = ()) -> None:
    """Import what programs may use beyond the standard library. No thread may start, because children are forked."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    os.environ.update(threads)
    sys.path += paths
    for name in names:
        __import__(name)
    del sys.path[len(sys.path) - len(paths) :]
    for name in threads:
        del os.environ[name]


def _run(request: dict[str, Any], descriptors: list[int], own_pids: int) -> dict[str, Any]:
    """Run one child from fork to its end. `error` in the reply: the program was never started."""
    hear, say = os.pipe()
    try:
        if own_pids >= 0:
            check("unshare", libc.unshare(_NEW_PIDS))
        pid = os.fork()
        if pid == 0:
            _child(request, descriptors, say)
        if own_pids >= 0:
            check("setns", libc.setns(own_pids, _NEW_PIDS))
        os.close(say)
        say = -1
        words = os.read(hear, 1000)
        _, status, usage = os.wait4(pid, 0)
    except OSError as error:
        return {"error": str(error)}
    finally:
        for descriptor in (*descriptors, hear, say):
            if descriptor >= 0:
                os.close(descriptor)
    if words != b"ready":
        return {"error": words.decode("utf-8", "replace") or f"the start failed with status {status}"}
    return {"status": status, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}


def _child(request: dict[str, Any], descriptors: list[int], say: int) -> NoReturn:
    """Arrange descriptors, confine, report, run. Leaves by `os._exit` only."""
    try:
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 100) for each in (*descriptors[1:4], descriptors[0], descriptors[4])]
        high.append(fcntl.fcntl(say, fcntl.F_DUPFD, 100))
        for number, each in enumerate(high):
            os.dup2(each, number)
        os.closerange(len(high), 1 << 16)
        kind = request["kind"]
        job = {} if kind == "native" else json.loads(_contents(_PROGRAM))
        confine(request)
        os.write(_READY, b"ready")
        os.close(_READY)
    except BaseException as error:
        os.write(_READY, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    if kind == "native":
        os.close(RESULT)
        os.execve(_PROGRAM, ["program"], {})
    os.close(_PROGRAM)
    _standard_streams()
    sys.argv = ["program.py"]
    {"script": run_script, "call": run_call, "serve": serve_calls, "tests": run_tests, "compile": run_compiler}[kind](
        job
    )
    os._exit(1)


def _standard_streams() -> None:
    """Make Python's objects for descriptors 0, 1 and 2, which are not those that the interpreter started with."""
    for number, (name, errors) in enumerate((("in", "strict"), ("out", "strict"), ("err", "backslashreplace"))):
        stream = open(number, "w" if number else "r", encoding="utf-8", errors=errors)  # noqa: SIM115 (all its life)
        setattr(sys, f"std{name}", stream)
        setattr(sys, f"__std{name}__", stream)


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
