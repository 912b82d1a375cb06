"""Tests of programs in all the forms in which published sets write them."""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from typing import Any

from prorl_mega.data.adapters.schema import decoded, first
from prorl_mega.data.canonical import CODE_TESTS, Fields
from prorl_mega.data.rows import BadRowError

NUMPY = """\
import sys, types


def allclose(a, b, rtol=1e-05, atol=1e-08):
    if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(allclose(x, y, rtol, atol) for x, y in zip(a, b))
    return a == b or abs(a - b) <= atol + rtol * abs(b)


numpy = types.ModuleType("numpy")
numpy.allclose = allclose
numpy.ndarray, numpy.float64, numpy.float32 = (type(name, (), {}) for name in ("ndarray", "float64", "float32"))
sys.modules["numpy"] = numpy
"""
"""A stand-in for numpy, which sandboxes lack: the tests of EvalPlus compare numbers and lists of them."""
_PAIRS = (("inputs", "outputs"), ("input", "output"))
_IMPORTED = re.compile(r"^from solution import (\w+)[^\n]*$", re.MULTILINE)
_CHECKED = re.compile(r"^check\((?:Solution\(\)\.)?(\w+)\)[ \t]*$", re.MULTILINE)
_CALLED = ("functional", "function_call", "call_based")


def read_tests(value: Any, name: str, *, function: Any = None, setup: str = "") -> list[Fields]:
    """The tests in a field, at least one.

    They are canonical, or {"inputs": [...], "outputs": [...], "fn_name": name} as in APPS, or one object per test as in
    LiveCodeBench, or assertions as text or as a list of texts; all of them also as JSON text, also below `test_cases`.
    `function` is the function that is tested, where the tests do not name it; `setup` goes before assertions.
    """
    if isinstance(value, str) and not value.lstrip().startswith(("{", "[")):
        return [asserted([value], name, function, setup)]
    value = decoded(value, name)
    if isinstance(value, dict):
        if isinstance(inner := first(value, "test_cases", "tests", "unit_tests"), list | dict | str):
            return read_tests(inner, name, function=first(value, "fn_name") or function, setup=setup)
        if isinstance(inner := first(value, "functional", "assert_case"), str | list):
            return read_tests(inner, name, function=function, setup=setup)
        return _pairs(value, name, function)
    if not isinstance(value, list) or not value:
        raise BadRowError("no tests", f"field {name!r} holds no tests")
    if all(isinstance(test, str) for test in value):
        return [asserted([test], name, function, setup) for test in value if test.strip()]
    if all(isinstance(test, dict) for test in value):
        return [_single(test, name, function) for test in value]
    raise BadRowError("wrong tests", f"field {name!r} must be a list of objects, or of assertions")


def _pairs(value: Fields, name: str, function: Any) -> list[Fields]:
    keys = next((keys for keys in _PAIRS if isinstance(value.get(keys[0]), list)), _PAIRS[0])
    inputs, outputs = value.get(keys[0]), value.get(keys[1])
    if not isinstance(inputs, list) and not isinstance(outputs, list):
        raise BadRowError("no tests", f"field {name!r} holds no tests")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise BadRowError("no tests", f"field {name!r} must have as many outputs as inputs, and at least one")
    function = value.get("fn_name") or function
    if not function:
        return [{"input": lines(a), "output": lines(b)} for a, b in zip(inputs, outputs, strict=True)]
    # APPS and TACO wrap what a function returns into a list of one, sets made from them do not always.
    wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
    return [
        call(function, arguments, value[0] if wrapped else value)
        for arguments, value in zip(inputs, outputs, strict=True)
    ]


def _single(test: Fields, name: str, function: Any) -> Fields:
    """One test that is an object of its own."""
    if set(test) in CODE_TESTS:
        return test
    known = {key: value for key, value in test.items() if value is not None}  # a column has the names of all its rows
    if set(known) in CODE_TESTS:
        return known
    kind = str(first(known, "testtype", "type") or "")
    function = first(known, "fn_name", "func_name", "metadata.func_name", "function") or function
    if "input" not in known or "output" not in known:
        raise BadRowError(
            "wrong tests", f"a test in {name!r} must have input and output, not {', '.join(test) or 'nothing'}"
        )
    if kind in _CALLED or (not kind and "fn_name" in known):
        if not function:
            raise BadRowError("no tests", "metadata names no func_name for functional tests")
        return call(function, known["input"], known["output"])
    return {"input": lines(known["input"]), "output": lines(known["output"])}


def lines(value: Any) -> str:
    """The text of a value that is text or a list of lines."""
    if isinstance(value, list):
        return "\n".join(lines(each) for each in value)
    return value if isinstance(value, str) else str(value)


def call(function: Any, arguments: Any, expected: Any) -> Fields:
    """One call; arguments may be text with one JSON value per line, and then the expected value is JSON as well."""
    if isinstance(arguments, str):
        arguments = [decoded(line, "inputs") for line in arguments.split("\n") if line.strip()]
        expected = decoded(expected, "outputs")
    return {
        "function": function,
        "arguments": arguments if isinstance(arguments, list) else [arguments],
        "expected": expected,
    }


def asserted(texts: list[str], name: str, function: Any, setup: str) -> Fields:
    """A test that is code: assertions, or a `check` that is called with the function."""
    code = "\n\n".join(text.strip() for text in (setup, *texts) if text.strip())
    for pattern in (_IMPORTED, _CHECKED):  # the program is no module here, and `check` is called with its function
        if named := pattern.search(code):
            function, code = function or named[1], pattern.sub("", code)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadRowError("wrong tests", f"field {name!r} holds neither JSON nor Python: {str(error)[:100]}") from None
    own = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if "check" not in own and not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise BadRowError("no tests", f"field {name!r} holds no tests")
    if not isinstance(function, str) or not function.strip():
        function = _tested(tree, own)
    if not function:
        raise BadRowError("wrong tests", f"the assertions in {name!r} call no function, and no field names it")
    if "check" not in own and not any(
        isinstance(node, ast.Assert) for node in tree.body
    ):  # functions as pytest runs them
        code = "\n".join([code, *(f"{each}()" for each in own if each.startswith("test"))])
    code = f"{NUMPY}\n\n{code}" if "import numpy" in code else code
    return {"function": function, "code": code}


def _tested(tree: ast.Module, own: list[str]) -> str | None:
    """The function that assertions call most often and that they do not define themselves."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    called = Counter(
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        and node.func.id not in {*own, *imported} and not hasattr(builtins, node.func.id)
    )  # fmt: skip
    return called.most_common(1)[0][0] if called else None


def before(head: str, function: str) -> str:
    """The helpers and imports before a function in its head; the tests may call them."""
    for body in ("", "\n    pass\n"):
        try:
            nodes = ast.parse(head + body).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
                start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                return "\n".join(head.splitlines()[: start - 1])
    return ""
