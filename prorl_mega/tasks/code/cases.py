"""Tests of a program: read from a row, run in a sandbox, judged outside of it.

Expected results never enter the sandbox of the program. It gets the input, and its output is text or JSON that the
program may have forged: an output is right only if it equals what is expected. Tests that are code themselves
("assert f(2) == 4") run in a second sandbox, in which the program's functions are stand-ins that exchange plain data
with the first.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prorl_mega.sandbox.guest.values import plain
from prorl_mega.sandbox.job import Ending, Limits, ProgramKind, ProgramResult, ProgramRun, call, native, script

_NUMBER = re.compile(r"[+-]?(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
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
        right = same_value(plain(test["expected"]), returned(result), tolerance)
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


def same_output(expected: str, got: str, tolerance: float) -> bool:
    """Whether outputs are equal line by line and word by word; blanks between words and at the end do not count.

    An expected word with a decimal point or an exponent may differ by `tolerance`, relative or absolute.
    """
    wanted, given = _lines(expected), _lines(got)
    if len(wanted) != len(given):
        return False
    return all(
        len(a) == len(b) and all(x == y or _close(x, y, tolerance) for x, y in zip(a, b, strict=True))
        for a, b in zip(wanted, given, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.rstrip().split("\n")]


def _close(expected: str, got: str, tolerance: float) -> bool:
    if tolerance == 0 or not _NUMBER.fullmatch(expected) or _INTEGER.fullmatch(expected) or not _NUMBER.fullmatch(got):
        return False
    a, b = float(expected), float(got)
    return math.isfinite(a) and math.isfinite(b) and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def returned(result: ProgramResult) -> Any:
    """The value that a CALL returned, as JSON; an object that equals nothing if there is no such value."""
    try:
        answer = json.loads(result.result)
    except (ValueError, RecursionError):
        return object()
    if type(answer) is not dict or set(answer) != {"returned"}:
        return object()
    return answer["returned"]


def same_value(expected: Any, got: Any, tolerance: float) -> bool:
    """Whether values are equal as the JSON of `guest.plain`: builtin types only, no code of the program is called.

    Numbers compare as in Python, except that a truth value equals no number, and floats within `tolerance`; a tuple
    equals a list, because JSON cannot expect one.
    """
    try:
        return _same(_listed(expected), _listed(got), tolerance)
    except RecursionError:
        return False


def _same(expected: Any, got: Any, tolerance: float) -> bool:
    if isinstance(expected, float) and type(got) in (int, float):
        try:
            close = tolerance > 0 and math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance)
            return bool(expected == got or close)
        except OverflowError:  # an integer beyond all floats
            return False
    if type(expected) is int and type(got) in (int, float):
        return bool(expected == got)
    if type(expected) is not type(got):
        return False
    if isinstance(expected, list):
        return len(expected) == len(got) and all(
            _same(_listed(a), _listed(b), tolerance) for a, b in zip(expected, got, strict=True)
        )
    if isinstance(expected, dict):
        return _same_contents(expected, got, tolerance)
    return bool(expected == got)


def _listed(value: Any) -> Any:
    return value["tuple"] if type(value) is dict and set(value) == {"tuple"} else value


def _same_contents(expected: dict[str, Any], got: dict[str, Any], tolerance: float) -> bool:
    """Whether dictionaries or sets, written as {"kind": [...]}, have the same contents in any order."""
    if len(expected) != 1 or expected.keys() != got.keys():
        return False
    ((kind, wanted),), (given,) = expected.items(), got.values()
    if kind not in ("dict", "set", "frozenset"):
        return bool(json.dumps(wanted) == json.dumps(given))
    if type(given) is not list or len(given) != len(wanted):
        return False
    if kind != "dict":
        return sorted(map(json.dumps, wanted)) == sorted(map(json.dumps, given))
    if not all(type(pair) is list and len(pair) == 2 for pair in given):
        return False
    wanted, given = (sorted(pairs, key=lambda pair: json.dumps(pair[0])) for pairs in (wanted, given))
    return all(
        json.dumps(a[0]) == json.dumps(b[0]) and _same(_listed(a[1]), _listed(b[1]), tolerance)
        for a, b in zip(wanted, given, strict=True)
    )
