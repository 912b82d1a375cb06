"""The ways to run a program in a confined child: as a script, for one call, and the compiler of one."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn

from prorl_mega.sandbox.guest.values import PROGRAM, plain, unplain

RESULT = 4  # the descriptor of a child for its result
MEMORY_STATUS, COMPILE_STATUS = 86, 87  # exit codes that explain a failure
PRELUDE = """
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import accumulate, combinations, permutations, product
from math import ceil, comb, floor, gcd, inf, sqrt
from typing import *
"""  # imports that sites which ask for a function provide


def run_script(job: dict[str, Any]) -> None:
    """Run a whole program, from standard input to standard output."""
    module = types.ModuleType("__main__")
    module.__file__ = os.path.abspath("program.py")
    sys.modules["__main__"] = module
    leave(lambda: execute(job["source"], "program.py", module.__dict__), wait=True)


def run_call(job: dict[str, Any]) -> None:
    """Call a function once and write its result as plain data; without a result, what became of its first argument."""

    def answer() -> None:
        function = find_function(define(job["source"]), job["function"])
        arguments = unplain(job["arguments"])
        reply = {"returned": plain(function(*arguments))}
        if reply["returned"] is None and arguments and isinstance(arguments[0], list | dict):  # which can be changed
            reply["changed"] = plain(arguments[0])
        write_all(RESULT, json.dumps(reply))

    leave(answer, wait=False)


def run_compiler(job: dict[str, Any]) -> None:
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
        write_all(2, str(error))
        os._exit(COMPILE_STATUS)
    os._exit(0)


def define(source: str) -> dict[str, Any]:
    """The names that a program defines, when it is imported rather than run."""
    module = types.ModuleType(PROGRAM)
    module.__file__ = os.path.abspath("solution.py")
    sys.modules[PROGRAM] = module
    execute(PRELUDE, "prelude.py", module.__dict__)
    execute(source, "program.py", module.__dict__)
    return module.__dict__


def execute(source: str, file: str, namespace: dict[str, Any]) -> None:
    exec(compile(source, file, "exec", dont_inherit=True), namespace)


def find_function(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """A function of the program, or a method of its class `Solution`."""
    if name in namespace:
        return namespace[name]
    if "Solution" in namespace:
        return getattr(namespace["Solution"](), name)
    raise NameError(f"there is no function {name!r}")


def leave(work: Callable[[], None], *, wait: bool) -> NoReturn:
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
            atexit._run_exitfuncs()
            _flush_all()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
    except MemoryError:
        code = MEMORY_STATUS
    except BaseException as error:
        code = 1
        write_all(2, f"\n{type(error).__name__}: {str(error)[:500]}\n")
    os._exit(code & 0xFF)


def _flush_all() -> None:
    """Write what is left in files that the program has not closed, as the interpreter does when it ends."""
    for stream in gc.get_objects():
        if issubclass(type(stream), io.TextIOWrapper | io.BufferedWriter):
            with contextlib.suppress(OSError, ValueError):  # closed, or without a descriptor
                stream.flush()


def write_all(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    while data:
        data = data[os.write(descriptor, data) :]
