"""The forms of right programs and of right results, and near misses of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from helpers.honest_forms import ANSWERS, CALLS, CPP, NO_ANSWERS, SCRIPTS, WRONG_CALLS
from helpers.sandboxes import needs, sandbox_of

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, compilation, native, script
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.tasks.code import cases
from prorl_mega.tasks.code.blocks import last_block
from prorl_mega.tasks.code.comparison import same_output
from prorl_mega.tasks.code.cpp import compiler, unit
from prorl_mega.tasks.code.program import COMPILING

LIMITS = Limits(cpu_s=1.0, wall_s=2.0, memory=512 << 20)


@pytest.fixture(
    scope="module", params=[IsolationTier.BUBBLEWRAP, pytest.param(IsolationTier.LANDLOCK, marks=pytest.mark.faults)]
)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=2) as sandbox:
        yield sandbox


def test_scripts(sandbox: Sandbox) -> None:
    results = sandbox.run([script(source, stdin, LIMITS) for source, stdin, _ in SCRIPTS])
    found = [(r.ending, r.stdout.decode()) for r in results]
    assert found == [(Ending.FINISHED, output) for *_, output in SCRIPTS]


def test_calls(sandbox: Sandbox) -> None:
    assert not [row for row in CALLS if not _passes(sandbox, *row)]
    assert not [row for row in WRONG_CALLS if _passes(sandbox, *row)]


def _passes(sandbox: Sandbox, source: str, arguments: object, expected: object) -> bool:
    test = {"function": "f", "arguments": arguments, "expected": expected}
    verdict = cases.judge(test, source, sandbox, LIMITS, 1e-6)
    assert verdict.ending is not Ending.INFRA_ERROR, (source, verdict)
    return verdict.passed


@needs(IsolationTier.BUBBLEWRAP, compiler=True)
@pytest.mark.parametrize("rows", [CPP[:2], pytest.param(CPP[2:], marks=pytest.mark.faults)])
def test_cpp(rows: list[tuple[str, str, str]]) -> None:
    with sandbox_of(IsolationTier.BUBBLEWRAP, size=2) as sandbox:
        built = sandbox.run([compilation(compiler(), unit(source), COMPILING) for source, *_ in rows])
        assert {each.ending for each in built} == {Ending.FINISHED}, built
        runs = [native(each.result, stdin, LIMITS) for each, (_, stdin, _) in zip(built, rows, strict=True)]
        found = [(r.ending, r.stdout.decode()) for r in sandbox.run(runs)]
    assert found == [(Ending.FINISHED, output) for *_, output in rows]


@pytest.mark.parametrize(("answer", "found"), ANSWERS)
def test_programs_are_found(answer: str, found: str) -> None:
    assert last_block(answer, "python") == found


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_what_is_no_program(answer: str) -> None:
    assert last_block(answer, "python") is None


def test_extraction_of_cpp() -> None:
    program = 'int main() { /* </think>\n```\n*/ puts("</think>"); puts(R"(\n```\n)"); int x = 1\'000; }'
    for tag in ("cpp", "c++", "C++20", "gnu++20", "cc"):
        assert last_block(f"<think>x</think>\n- ```{tag}\n{program}\n```", "cpp") == program


@pytest.mark.parametrize("language", ["python", "cpp"])
def test_extraction_takes_linear_time(language: str) -> None:
    """Seconds, where a quadratic reading takes minutes."""
    units = [
        "```python\n",
        "```python\n'''\n```\n",
        '"""\n```python\n',
        "\\'",
        "/*",
        'R"(',
        "~~~\n```cpp\n",
        "'\"",
        "#'",
    ]
    began = time.process_time()
    for each in units:
        last_block("```python\n" + each * (200_000 // len(each)) + "</think>\n```", language)
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("0.0", "1e-9", False), ("0.0", "-1e-9", False), ("0.0", "1e-17", True), ("0.0", "-0.0", True),
        ("1e-9", "0", False), ("1e-9", "1.0000001e-9", True), ("0.000000001", "0", False), ("0.5", "0.5000002", True),
        ("0.000012", "0.0000123", True), ("0.000012", "0.0000129", False), ("0.000000", "0.0000003", True),
        ("0.000000", "0.0000009", False), ("0.5", "0.54", False), ("1e-300", "0", False), ("2.5e-7", "2.6e-7", False),
        ("0.25", "1/4", False), ("1234567.5", "1234567.6", True), ("0.0001", "0.00012", False),
    ],
)  # fmt: skip
def test_tolerance_is_relative(expected: str, got: str, same: bool) -> None:
    assert same_output(expected, got, 1e-6) is same
