"""Plain data: a run in a sandbox, its limits, and its result."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class ProgramKind(StrEnum):
    """The ways to use a program."""

    SCRIPT = "script"  # Python, from standard input to standard output
    CALL = "call"  # one function of a Python program, on one list of arguments
    SERVE = "serve"  # functions of a Python program, as often as its tests ask
    TESTS = "tests"  # assertions about a program that serves in another sandbox
    NATIVE = "native"  # an executable file, from standard input to standard output
    COMPILE = "compile"  # a compiler, from source text to an executable file


class Ending(StrEnum):
    """The ways in which a run ends. Only FINISHED may become a pass; INFRA_ERROR says nothing about the program."""

    FINISHED = "finished"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    COMPILE_ERROR = "compile_error"
    INFRA_ERROR = "infra_error"


class Limits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The limits of one run. A program is one process, so these bound everything that it can use."""

    cpu_s: float = 4.0  # processor time
    wall_s: float = 10.0  # of a program that sleeps; one that waits for a processor gets more
    memory: int = 1 << 30  # bytes of address space
    output: int = 4 << 20  # bytes of each of standard output, error and result, and of each file in the scratch
    scratch: int = 32 << 20  # bytes of all files in the scratch
    stack: int = 64 << 20  # bytes, of the main thread
    threads: int = 32  # for the superuser behind bubblewrap not enforced by the kernel


class ProgramRun(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One program on one input. `job` is what the kind needs: source, function, arguments, command."""

    kind: ProgramKind
    job: dict[str, Any] = {}
    stdin: bytes = b""
    program: bytes | None = None  # the executable file of a NATIVE run
    limits: Limits = Limits()


class ProgramResult(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The result of a run, truncated to the limits. Everything in it may have been forged by the program."""

    ending: Ending
    stdout: bytes = b""
    stderr: bytes = b""
    result: bytes = b""  # of CALL: JSON; of COMPILE: the executable file
    detail: str = ""
    cpu_s: float = 0.0
    memory: int = 0  # bytes, the most that was resident


def script(source: str, stdin: str, limits: Limits) -> ProgramRun:
    return ProgramRun(
        kind=ProgramKind.SCRIPT, job={"source": source}, stdin=stdin.encode("utf-8", "replace"), limits=limits
    )


def call(source: str, function: str, arguments: Any, limits: Limits) -> ProgramRun:
    """A CALL run; `arguments` as `guest.plain` makes it from a list."""
    job = {"source": source, "function": function, "arguments": arguments}
    return ProgramRun(kind=ProgramKind.CALL, job=job, limits=limits)


def native(program: bytes, stdin: str, limits: Limits) -> ProgramRun:
    return ProgramRun(kind=ProgramKind.NATIVE, program=program, stdin=stdin.encode("utf-8", "replace"), limits=limits)


def compilation(command: list[str], source: str, limits: Limits) -> ProgramRun:
    return ProgramRun(
        kind=ProgramKind.COMPILE, job={"command": command}, stdin=source.encode("utf-8", "replace"), limits=limits
    )
