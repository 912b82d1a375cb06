"""Tests of a program: read from a row, run in a sandbox, judged outside of it.

Expected results never enter the sandbox of the program. It gets the input, and its output is text or JSON that the
program may have forged: an output is right only if it equals what is expected. Tests that are code themselves
("assert f(2) == 4") run in a second sandbox, in which the program's functions are stand-ins that exchange plain data
with the first.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prorl_mega.sandbox.guest.values import plain
from prorl_mega.sandbox.job import Ending, Limits, ProgramKind, ProgramResult, ProgramRun, call, native, script
from prorl_mega.tasks.code.comparison import same_output, same_value

FORMS = "{input, output}, {function, arguments, expected} or {function, code}"


class Runner(Protocol):
    """A sandbox, or the client of one in another process."""

    def run(self, runs: Sequence[ProgramRun]) -> list[ProgramResult]: ...

    def converse(self, program: ProgramRun, tests: ProgramRun) -> tuple[ProgramResult, ProgramResult]: ...

    def close(self) -> None: ...


@dataclass(kw_only=True, slots=True, frozen=True)
class Judgement:
    passed: bool
    ending: Ending
    detail: str
    cpu_s: float = 0.0


def check(test: Any) -> None:
    """Raise ValueError if one element of a row's `tests` is invalid, with the mistake."""
    if not isinstance(test, dict):
        raise ValueError(f"must be an object, {FORMS}")
    names = set(test)
    if names == {"input", "output"}:
        _need_text(test, "input", "output")
    elif names == {"function", "arguments", "expected"}:
        _need_text(test, "function")
        if not isinstance(test["arguments"], list):
            raise ValueError("arguments must be a list")
    elif names == {"function", "code"}:
        _need_text(test, "function", "code")
        try:
            tree = ast.parse(test["code"])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"code is not Python: {error}") from None
        if not _tests_something(tree):
            raise ValueError("code tests nothing: it needs assertions outside of functions, or a function `check`")
    else:
        raise ValueError(f"has the fields {', '.join(sorted(names)) or 'none'}, not {FORMS}")
    if "function" in test and not test["function"].isidentifier():
        raise ValueError(f"function must be a name, not {test['function'][:40]!r}")


def _tests_something(tree: ast.Module) -> bool:
    """Whether code that runs as it stands can fail: every program would pass definitions alone."""
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        return True
    runs = (statement for statement in tree.body if not isinstance(statement, definitions))
    return any(
        isinstance(node, ast.Assert | ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        for statement in runs
        for node in ast.walk(statement)
    )


def _need_text(test: dict[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(test[name], str):
            raise ValueError(f"{name} must be text, not {type(test[name]).__name__}")


def judge(test: dict[str, Any], program: str | bytes, runner: Runner, limits: Limits, tolerance: float) -> Judgement:
    """Run one test on a Python program's text or an executable file. Never raises for what the program does."""
    if "code" in test:
        assert isinstance(program, str)
        return _converse(test, program, runner, limits)
    if isinstance(program, bytes):
        run = native(program, test["input"], limits)
    elif "function" in test:
        run = call(program, test["function"], plain(test["arguments"]), limits)
    else:
        run = script(program, test["input"], limits)
    (result,) = runner.run([run])
    if result.ending is not Ending.FINISHED:
        return Judgement(passed=False, ending=result.ending, detail=result.detail, cpu_s=result.cpu_s)
    if "function" in test:
        right = any(same_value(plain(test["expected"]), value, tolerance) for value in returned(result))
    else:
        right = same_output(test["output"], result.stdout.decode("utf-8", "replace"), tolerance)
    return Judgement(passed=right, ending=result.ending, detail="" if right else "wrong answer", cpu_s=result.cpu_s)


def _converse(test: dict[str, Any], program: str, runner: Runner, limits: Limits) -> Judgement:
    serving = ProgramRun(kind=ProgramKind.SERVE, job={"source": program}, limits=limits)
    asking = ProgramRun(
        kind=ProgramKind.TESTS, job={"source": test["code"], "function": test["function"]}, limits=limits
    )
    served, asked = runner.converse(serving, asking)
    cpu = served.cpu_s + asked.cpu_s
    for result in (served, asked):
        if result.ending is not Ending.FINISHED:
            return Judgement(passed=False, ending=result.ending, detail=result.detail, cpu_s=cpu)
    try:
        verdict = json.loads(asked.stdout.rpartition(b"\n")[2])
    except (ValueError, RecursionError):
        verdict = {}
    if "broken" in verdict:
        broken = f"the test itself does not work: {verdict['broken']}"
        return Judgement(passed=False, ending=Ending.INFRA_ERROR, detail=broken, cpu_s=cpu)
    passed = verdict.get("passed") is True
    return Judgement(passed=passed, ending=Ending.FINISHED, detail=str(verdict.get("failed", "")), cpu_s=cpu)


def returned(result: ProgramResult) -> list[Any]:
    """The value that a CALL returned, as JSON; after None, what became of the first argument; nothing if it is forged.

    A function that works in place returns None, and the argument is the answer.
    """
    try:
        answer = json.loads(result.result)
    except (ValueError, RecursionError):
        return []
    if type(answer) is not dict or not {"returned"} <= set(answer) <= {"returned", "changed"}:
        return []
    return list(answer.values()) if answer["returned"] is None else [answer["returned"]]
