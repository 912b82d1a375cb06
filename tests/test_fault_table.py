"""The table of faults: its cases name tests that exist, it has all of them, and it tells what failed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from fault_table import (
    ROOT,
    TABLE,
    FaultCase,
    Outcome,
    Verdict,
    judge,
    node_ids,
    read_cases,
    run_tests,
    table,
)

PENDING = {"docs/faults.md"}
"""Files that are not there yet."""
GROUPS = read_cases()
ALL = [case for cases in GROUPS.values() for case in cases]
SLOW_AND_OTHERS = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_numbers(number: int) -> None:
    print("seen: number", number)
    assert number == 1, "two | is not\\none"

def test_skipped() -> None:
    pytest.skip("no such machine")

@pytest.mark.gpu
def test_left_out() -> None: ...
"""


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_case_names_tests_that_exist() -> None:
    problems = []
    for node in node_ids(ALL):
        name, _, function = node.partition("::")
        file = ROOT / name
        if name in PENDING:
            assert not file.exists(), f"{name} is there now: take it out of PENDING"
        elif not file.exists() or not any(each.startswith("test_") for each in functions(file)):
            problems.append(f"{name}: no such file with tests")
        elif function and function not in functions(file):
            problems.append(f"{node}: no such function")
    assert problems == []


def test_cases_are_told_apart_and_have_words() -> None:
    assert len({case.name for case in ALL}) == len(ALL) >= 80
    for case in ALL:
        assert case.tests, case.name
        assert all(len(text) > 3 and "|" not in text for text in (case.name, case.injected, case.expected)), case.name


def test_the_table_has_every_case() -> None:
    if str(TABLE.relative_to(ROOT)) in PENDING:
        assert not TABLE.exists(), "the table is there now: take it out of PENDING"
        pytest.skip("the table has not been written yet: make faults-table")
    text = TABLE.read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row != "Case"] == [case.name for case in ALL]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(GROUPS)


def case(*tests: str) -> FaultCase:
    return FaultCase(name="Case", injected="a fault", expected="it goes on", tests=list(tests))


def test_tests_are_run_and_told(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n    gpu\n")
    (tmp_path / "test_it.py").write_text(SLOW_AND_OTHERS)
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n")
    cases = [
        case("test_it.py::test_numbers[1]", "test_it.py::test_skipped", "tests/slurm/test_x.py"),
        case("test_it.py::test_numbers"),
        case("test_it.py::test_skipped"),
        case("test_broken.py::test_x", "test_it.py::test_numbers[1]"),
        case("tests/slurm/test_x.py"),
    ]
    outcomes = run_tests(["test_it.py", "test_broken.py"], "not gpu", tmp_path)
    judged = [judge(each, outcomes, "no Slurm here")[:2] for each in cases]
    assert judged == [
        (Verdict.as_expected, "it goes on (1 test); number 1; 2 more not run: no such machine; no Slurm here"),
        (Verdict.failed, "**FAILED** (1 of 2 tests) test_numbers[2]: AssertionError: two | is not"),
        (Verdict.not_run, "not run: no such machine"),
        (Verdict.failed, "**FAILED** test_broken.py::test_x was not started"),
        (Verdict.not_run, "not run: no Slurm here"),
    ]
    assert judge(cases[4], [], "")[:2] == (Verdict.failed, "**FAILED** tests/slurm/test_x.py was not started")


def test_the_document() -> None:
    passed = [Outcome(node="a.py::test_a[x-1]", seconds=1.26, seen=["2 | 3", "2 | 3"]), Outcome(node="b.py::test_b")]
    failed = Outcome(node="c.py::test_c", seconds=2.0, failure=f"lost in {ROOT}/somewhere <b>")
    groups = {"First": [case("a.py::test_a[x*]", "b.py")], "Second": [case("c.py"), case("tests/slurm/d.py")]}
    text, counts = table(groups, [*passed, failed], "no Slurm here")
    lines = text.splitlines()
    assert "3 cases: 1 as expected, 1 failed, 1 not run." in lines
    assert [line for line in lines if line.startswith(("##", "| Case | a"))] == [
        "## First",
        r"| Case | a fault | it goes on (2 tests); 2 \| 3 | 1.3 |",
        "## Second",
        r"| Case | a fault | **FAILED** (1 of 1 test) test_c: lost in …/somewhere \<b\> | 2.0 |",
        "| Case | a fault | not run: no Slurm here | 0.0 |",
    ]
    assert counts[Verdict.failed] == 1
    assert re.search(r"at commit \w+( with changes)?, on a machine with \d+ cores?, \d+ GiB of memory and", text)
