"""The inside of a sandbox: a trusted parent that forks one confined child per program. Standard library only.

Runs as a script, in an interpreter of its own, without the rest of the package. File descriptor 0 is a socket to the
host. The first message says how children are to be confined; each further one is a run: what kind, which limits, and
five descriptors (program, standard input, output, error, result). The parent never reads them, so the next
program does not inherit anything of it in memory. A child serves one run and exits.

Everything after `_confine` in a child may be changed by the program: the host does not trust its output.
"""

from __future__ import annotations

import builtins
import ctypes
import fcntl
import gc
import json
import os
import resource
import site
import socket
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn

PROGRAM, RESULT, _READY = 3, 4, 5  # descriptors of a child, next to 0, 1 and 2
MEMORY_STATUS, COMPILE_STATUS = 86, 87  # exit codes that explain a failure
_OWN_PID = 0x5EC0_0001  # in the filter: see seccomp.py
_MAX_LINE = 1 << 24  # bytes of one message between a program and its tests
_NEW_MOUNTS, _NEW_PIDS = 0x0002_0000, 0x2000_0000
_PRELUDE = """
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import accumulate, combinations, permutations, product
from math import ceil, comb, floor, gcd, inf, sqrt
from typing import *
"""  # imports that sites which ask for a function provide
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    """Serve runs until the host closes the socket."""
    control = socket.socket(fileno=os.dup(0))
    configuration = json.loads(control.recv(1 << 20))
    _check("prctl", _libc.prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL
    if configuration["parent"] and os.getppid() != configuration["parent"]:
        os._exit(1)
    site.setquit()  # programs call exit()
    namespace: dict[str, Any] = {}
    exec(_PRELUDE, namespace)
    for module in ("decimal", "fractions", "io", "queue", "statistics", "datetime", "time", "array", "cmath"):
        __import__(module)
    if configuration["landlock"]:
        _check("prctl", _libc.prctl(38, 1, 0, 0, 0))
        _landlock(configuration["landlock"])
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


def _run(request: dict[str, Any], descriptors: list[int], own_pids: int) -> dict[str, Any]:
    """Run one child from fork to its end. `error` in the reply: the program was never started."""
    hear, say = os.pipe()
    try:
        if own_pids >= 0:
            _check("unshare", _libc.unshare(_NEW_PIDS))
        pid = os.fork()
        if pid == 0:
            _child(request, descriptors, say)
        if own_pids >= 0:
            _check("setns", _libc.setns(own_pids, _NEW_PIDS))
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
        job = {} if kind == "native" else json.loads(_contents(PROGRAM))
        _confine(request)
        os.write(_READY, b"ready")
        os.close(_READY)
    except BaseException as error:
        os.write(_READY, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    if kind == "native":
        os.close(RESULT)
        os.execve(PROGRAM, ["program"], {})
    os.close(PROGRAM)
    _standard_streams()
    sys.argv = ["program.py"]
    {"script": _script, "call": _call, "serve": _serve, "tests": _tests, "compile": _compile}[kind](job)
    os._exit(1)


def _standard_streams() -> None:
    """Make Python's objects for descriptors 0, 1 and 2, which are not those that the interpreter started with."""
    for number, (name, errors) in enumerate((("in", "strict"), ("out", "strict"), ("err", "backslashreplace"))):
        stream = open(number, "w" if number else "r", encoding="utf-8", errors=errors)  # noqa: SIM115 (all its life)
        setattr(sys, f"std{name}", stream)
        setattr(sys, f"__std{name}__", stream)


def _confine(request: dict[str, Any]) -> None:
    """Confine scratch, limits, privileges, system calls: in this order, because each step removes rights."""
    if request["namespaces"]:
        _check("unshare", _libc.unshare(_NEW_MOUNTS))
        options = f"mode=1777,size={request['scratch']},nr_inodes=1024".encode()
        _check("mount", _libc.mount(b"scratch", b"/tmp", b"tmpfs", ctypes.c_ulong(6), options))  # nosuid, nodev
        os.chdir("/tmp")
    else:
        os.chdir("/")
    _check("prctl", _libc.prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL
    for name, limit in request["limits"].items():
        which = getattr(resource, f"RLIMIT_{name}")
        ceiling = resource.getrlimit(which)[1]  # never above what the host itself is allowed
        pair = (limit, limit + (name == "CPU"))
        resource.setrlimit(which, pair if ceiling == resource.RLIM_INFINITY else tuple(min(x, ceiling) for x in pair))
    for capability in range(64):
        _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; fails where the set is empty already
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = ctypes.create_string_buffer(struct.pack("<II", 0x2008_0522, 0))
    _check("capset", _libc.capset(header, ctypes.create_string_buffer(24)))
    _check("prctl", _libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    _check("prctl", _libc.prctl(4, 0, 0, 0, 0))  # PR_SET_DUMPABLE off: nobody may attach
    if request["filter"] is not None:
        _seccomp(bytes.fromhex(request["filter" if request["kind"] != "compile" else "compiler_filter"]))


def _seccomp(filter_bytes: bytes) -> None:
    code = b"".join(
        struct.pack("<HBBI", operation, yes, no, os.getpid() if operand == _OWN_PID else operand)
        for operation, yes, no, operand in struct.iter_unpack("<HBBI", filter_bytes)
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
    _check("seccomp", _libc.prctl(22, 2, program, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _landlock(readable: list[str]) -> None:
    """Forbid everything that Landlock controls, except reading below these paths."""
    version = _libc.syscall(444, None, ctypes.c_size_t(0), 1)
    _check("landlock", version)
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _libc.syscall(444, ctypes.create_string_buffer(attributes), ctypes.c_size_t(size), 0)
    _check("landlock", rules)
    for path in readable:
        descriptor = os.open(path, os.O_PATH)
        access = 13 if os.path.isdir(path) else 5  # read files and directories, execute
        rule = ctypes.create_string_buffer(struct.pack("<Qi", access, descriptor))
        _check("landlock", _libc.syscall(445, rules, 1, rule, 0))
        os.close(descriptor)
    _check("landlock", _libc.syscall(446, rules, 0))
    os.close(rules)


def _check(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _script(job: dict[str, Any]) -> None:
    """Run a whole program, from standard input to standard output."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    _leave(lambda: exec(compile(job["source"], "program.py", "exec", dont_inherit=True), module.__dict__), wait=True)


def _call(job: dict[str, Any]) -> None:
    """Call a function once and write its result as plain data."""

    def answer() -> None:
        function = _function(_define(job["source"]), job["function"])
        _write(RESULT, json.dumps({"returned": plain(function(*unplain(job["arguments"])))}))

    _leave(answer, wait=False)


def _serve(job: dict[str, Any]) -> None:
    """Answer calls, one line of JSON each, until the other side closes."""

    def answer() -> None:
        namespace = _define(job["source"])
        with open(os.dup(0), "rb") as requests:
            while line := requests.readline(_MAX_LINE):
                request = json.loads(line)
                function = _function(namespace, request["function"])
                try:
                    value = function(*unplain(request["arguments"]), **unplain(request["keywords"]))
                    reply = {"returned": plain(value)}
                except Exception as error:
                    reply = {"raised": type(error).__name__, "words": str(error)[:200]}
                _write(RESULT, json.dumps(reply) + "\n")

    _leave(answer, wait=False)


def _tests(job: dict[str, Any]) -> None:
    """Run assertions about a program in another sandbox; stand-ins for its functions send messages.

    Standard input brings the program's answers, `RESULT` takes the requests, and the verdict is the last line of
    standard output.
    """
    replies = open(os.dup(0), "rb")  # noqa: SIM115 (as long as the process)
    os.close(0)
    verdict: dict[str, Any] = {"passed": False}
    raised: list[BaseException] = []  # by the program, as opposed to the tests

    def stand_in(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            request = {"function": name, "arguments": plain(list(arguments)), "keywords": plain(keywords)}
            try:
                _write(RESULT, json.dumps(request) + "\n")
                reply = json.loads(replies.readline(_MAX_LINE))
                if "raised" not in reply:
                    return unplain(reply["returned"])
                kind = getattr(builtins, str(reply["raised"]), None)
                exception = kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError
                raised.append(exception(str(reply.get("words"))))
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                raise _SilentProgramError("no answer, or none that is plain data") from None
            raise raised[-1]

        return call

    def judge() -> None:
        namespace: dict[str, Any] = {"__name__": "tests"}
        exec(_PRELUDE, namespace)
        namespace[job["function"]] = stand_in(job["function"])
        try:
            exec(compile(job["source"], "tests.py", "exec", dont_inherit=True), namespace)
            if callable(namespace.get("check")):
                namespace["check"](namespace[job["function"]])
            verdict["passed"] = True
        except (_NotPlainError, SyntaxError, NameError, ImportError) as error:
            blame = "failed" if error in raised else "broken"
            verdict[blame] = f"{type(error).__name__}: {error}"[:200]
        except (Exception, _SilentProgramError) as error:
            verdict["failed"] = f"{type(error).__name__}: {error}"[:200]
        sys.stdout.flush()
        _write(1, "\n" + json.dumps(verdict))

    _leave(judge, wait=False)


def _compile(job: dict[str, Any]) -> None:
    """`command` reads standard input and makes /tmp/program, which becomes the result."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": "/tmp"}
    os.set_inheritable(RESULT, False)
    try:
        pid = os.posix_spawnp(job["command"][0], job["command"], environment)
        if os.waitpid(pid, 0)[1] != 0:
            os._exit(COMPILE_STATUS)
        with open("/tmp/program", "rb") as program:
            while os.sendfile(RESULT, program.fileno(), None, 1 << 24):
                pass
    except OSError as error:
        _write(2, str(error))
        os._exit(COMPILE_STATUS)
    os._exit(0)


class _SilentProgramError(BaseException):
    """The program under test ended or does not answer. Not an Exception: tests may catch those."""


class _NotPlainError(TypeError):
    """A value that cannot be sent to another process."""


def _define(source: str) -> dict[str, Any]:
    """The names that a program defines, when it is imported rather than run."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    exec(_PRELUDE, module.__dict__)
    exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def _function(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """A function of the program, or a method of its class `Solution`."""
    if name in namespace:
        return namespace[name]
    if "Solution" in namespace:
        return getattr(namespace["Solution"](), name)
    raise NameError(f"there is no function {name!r}")


def _leave(work: Callable[[], None], *, wait: bool) -> NoReturn:
    """Do `work` and end the process as the interpreter would; `wait` for its other threads."""
    code = 1
    try:
        try:
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if wait:
            threading._shutdown()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except MemoryError:
        code = MEMORY_STATUS
    except BaseException as error:
        code = 1
        _write(2, f"\n{type(error).__name__}: {str(error)[:500]}\n")
    os._exit(code & 0xFF)


def _write(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    while data:
        data = data[os.write(descriptor, data) :]


def plain(value: Any) -> Any:
    """A value as JSON that `unplain` undoes; kinds that JSON lacks become {"kind": contents}. Raises TypeError."""
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if abs(value) < float("inf") else {"float": repr(float(value))}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(each)] for key, each in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [plain(each) for each in value]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [plain(value.real), plain(value.imag)]}
    raise _NotPlainError(f"a value of type {type(value).__name__} is not plain data")


def unplain(data: Any) -> Any:
    """The value of such JSON. Raises TypeError or ValueError for anything else; makes builtin types only."""
    if data is None or type(data) in (bool, int, float, str):
        return data
    if type(data) is list:
        return [unplain(each) for each in data]
    if type(data) is not dict or len(data) != 1:
        raise _NotPlainError("not plain data")
    ((kind, contents),) = data.items()
    if kind == "float" and contents in ("inf", "-inf", "nan"):
        return float(contents)
    if kind == "dict" and type(contents) is list:
        return {unplain(key): unplain(each) for key, each in contents}
    if kind in ("tuple", "set", "frozenset") and type(contents) is list:
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](unplain(each) for each in contents)
    if kind == "bytes" and type(contents) is str:
        return bytes.fromhex(contents)
    if kind == "complex" and type(contents) is list:
        return complex(*(unplain(each) for each in contents))
    raise _NotPlainError(f"not plain data: {str(kind)[:40]!r}")


if __name__ == "__main__":
    main()
