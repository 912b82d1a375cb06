"""Published sets of programming problems, their tests as tests of the `code` task."""

from __future__ import annotations

from typing import Any

from prorl_mega.data.adapters.schema import Schema, decoded, eurus_model, first, message, needed, with_known
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError

PYTHON_3 = 3  # CodeContests' number for it
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


def tests_of(pairs: Any, name: str) -> list[Fields]:
    """The tests in {"inputs": [...], "outputs": [...], "fn_name": name}, as APPS writes it, also as JSON text."""
    pairs = decoded(pairs, name)
    if not isinstance(pairs, dict):
        raise BadRowError("no tests", f"field {name!r} holds no tests")
    inputs, outputs = pairs.get("inputs"), pairs.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise BadRowError("no tests", f"field {name!r} must have as many outputs as inputs, and at least one")
    function = pairs.get("fn_name")
    if not function:
        return [{"input": _lines(a), "output": _lines(b)} for a, b in zip(inputs, outputs, strict=True)]
    # APPS and TACO wrap what a function returns into a list of one, sets made from them do not always.
    wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
    return [
        _call(function, arguments, value[0] if wrapped else value)
        for arguments, value in zip(inputs, outputs, strict=True)
    ]


def _lines(value: Any) -> str:
    """The text of a value that is text or a list of lines."""
    if isinstance(value, list):
        return "\n".join(_lines(each) for each in value)
    return value if isinstance(value, str) else str(value)


def _call(function: str, arguments: Any, expected: Any) -> Fields:
    """One call; arguments may be text with one JSON value per line, and then the expected value is JSON as well."""
    if isinstance(arguments, str):
        arguments = [decoded(line, "inputs") for line in arguments.split("\n") if line.strip()]
        expected = decoded(expected, "outputs")
    return {
        "function": function,
        "arguments": arguments if isinstance(arguments, list) else [arguments],
        "expected": expected,
    }


def _fenced(source: Any) -> str | None:
    return f"```python\n{source.strip()}\n```" if isinstance(source, str) and source.strip() else None


def _asked(text: str, starter: Any, tests: list[Fields]) -> str:
    """The problem with the name that an answer must have, where that is tested."""
    if isinstance(starter, str) and starter.strip():
        return f"{text}\n\nStart from this code:\n```python\n{starter.strip()}\n```"
    if "function" in tests[0]:
        return f"{text}\n\nWrite a function called `{tests[0]['function']}`."
    return text


def _eurus(fields: Fields) -> Fields:
    tests = tests_of(eurus_model(fields, "code").get("ground_truth"), "ground_truth")
    return {"prompt": _asked(message(fields["prompt"], "prompt"), None, tests), "tests": tests}


def _apps(fields: Fields) -> Fields:
    """APPS and TACO: tests and solutions are JSON as text."""
    tests = tests_of(needed(fields, "input_output"), "input_output")
    solutions = decoded(first(fields, "solutions"), "solutions")
    return with_known(
        prompt=_asked(needed(fields, "question"), fields.get("starter_code"), tests),
        tests=tests,
        solution=_fenced(solutions[0]) if isinstance(solutions, list) and solutions else None,
        id=first(fields, "problem_id", "id"),
    )


def _code_contests(fields: Fields) -> Fields:
    """Public, private and generated tests. Problems that read and write files are of another kind."""
    if first(fields, "input_file", "output_file") is not None:
        raise OtherDomainError("reads files")
    tests: list[Fields] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        pairs = fields.get(name) or {}
        inputs, outputs = pairs.get("input") or [], pairs.get("output") or []
        if len(inputs) != len(outputs):
            raise BadRowError("no tests", f"field {name!r} must have as many outputs as inputs")
        tests += [{"input": a, "output": b} for a, b in zip(inputs, outputs, strict=True)]
    solutions = fields.get("solutions") or {}
    written = zip(solutions.get("language") or [], solutions.get("solution") or [], strict=False)
    return with_known(
        prompt=needed(fields, "description"),
        tests=tests,
        solution=next((_fenced(source) for language, source in written if language == PYTHON_3), None),
        id=first(fields, "name"),
    )


def _human_eval(fields: Fields) -> Fields:
    """The prompt is the head of a function; the test defines `check(candidate)` and compares with numpy."""
    head, body, test = needed(fields, "prompt"), first(fields, "canonical_solution"), needed(fields, "test")
    test = f"{NUMPY}\n\n{test}" if "import numpy" in str(test) else test
    return with_known(
        prompt=f"Complete this function:\n```python\n{str(head).strip()}\n```",
        tests=[{"function": needed(fields, "entry_point"), "code": test}],
        solution=_fenced(f"{head}{body}") if body else None,
        id=first(fields, "task_id"),
    )


def _live_code_bench(fields: Fields) -> Fields:
    """All tests of a row, if the private ones are JSON."""
    if not str(needed(fields, "private_test_cases")).lstrip().startswith("["):
        raise BadRowError(
            "pickled tests",
            "private_test_cases are a compressed pickle, and reading pickles runs code that is in them. The schema "
            "livecodebench_public takes the public tests only",
        )
    return _live_code_bench_public(fields, "private_test_cases")


def _live_code_bench_public(fields: Fields, *more: str) -> Fields:
    """The public tests, which are few and weaker than those of the leader board, and those of the fields `more`."""
    metadata = decoded(first(fields, "metadata") or "{}", "metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else None
    tests: list[Fields] = []
    for name in ("public_test_cases", *more):
        cases = decoded(fields.get(name) or "[]", name)
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            raise BadRowError("no tests", f"field {name!r} must be a list of objects")
        for case in cases:
            if case.get("testtype") == "functional":
                if not function:
                    raise BadRowError("no tests", "metadata names no func_name for functional tests")
                tests.append(_call(function, case.get("input"), case.get("output")))
            else:
                tests.append({"input": case.get("input"), "output": case.get("output")})
    if not tests:
        raise BadRowError("no tests", "has no tests")
    return with_known(
        prompt=_asked(needed(fields, "question_content"), fields.get("starter_code"), tests),
        tests=tests,
        id=first(fields, "question_id"),
    )


_LIVE = "question_content question_id public_test_cases private_test_cases metadata *"
_LITE = "livecodebench/code_generation_lite"

SCHEMAS = (
    Schema("eurus_code", Domain.code, "PRIME-RL/Eurus-2-RL-Data",
           "data_source prompt ability reward_model extra_info?", _eurus),
    Schema("apps", Domain.code, "codeparrot/apps",
           "problem_id question solutions? input_output? difficulty? url? starter_code? id?", _apps),
    Schema("taco", Domain.code, "BAAI/TACO", "question input_output skill_types raw_tags *", _apps),
    Schema("code_contests", Domain.code, "deepmind/code_contests",
           "description public_tests private_tests generated_tests *", _code_contests),
    Schema("humanevalplus", Domain.code, "evalplus/humanevalplus",
           "task_id prompt canonical_solution? entry_point test *", _human_eval),
    Schema("livecodebench", Domain.code, f"livecodebench/code_generation, {_LITE}", _LIVE, _live_code_bench),
    Schema("livecodebench_public", Domain.code, f"{_LITE}, public tests only", _LIVE, _live_code_bench_public,
           by_name_only=True),
)  # fmt: skip
