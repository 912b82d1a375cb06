"""Problems whose answers are programs: rows, extraction, judging, and scoring by the real pool."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.sandboxes import needs, tier_here

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.sandbox import pool
from prorl_mega.sandbox.guest.values import plain
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.tasks import create
from prorl_mega.tasks.code.blocks import last_block
from prorl_mega.tasks.code.comparison import same_output, same_value
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.pool import VerifierPool

needs_a_sandbox = pytest.mark.skipif(
    all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2]), reason="NOT RUN: no sandbox on this machine"
)
SUM: dict[str, Any] = {
    "id": "sum",
    "prompt": "Add.",
    "tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 6", "output": "11"}],
}
TWICE: dict[str, Any] = {
    "id": "twice",
    "prompt": "Define f that doubles.",
    "solution": "```python\ndef f(x):\n    return x * 2\n```",
    "tests": [
        {"function": "f", "arguments": [2], "expected": 4},
        {"function": "f", "arguments": [[1]], "expected": [1, 1]},
        {"function": "f", "arguments": [0.1], "expected": 0.2},
    ],
}
ASSERTED: dict[str, Any] = {
    "id": "asserted",
    "prompt": "Define f that doubles.",
    "tests": [
        {"function": "f", "code": "assert f(2) == 4"},
        {
            "function": "f",
            "code": "def check(candidate):\n    assert candidate((1,)) == (1, 1)\n    assert {3} != candidate(1)",
        },
        {"function": "f", "code": "import math\nfor i in range(20): assert math.isclose(f(i), i + i)"},
        {"function": "f", "code": "try:\n    f(None)\nexcept TypeError: pass\nelse: raise AssertionError"},
    ],
}
BROKEN: dict[str, Any] = {
    "id": "broken",
    "prompt": "p",
    "tests": [{"function": "f", "code": "assert f(undefined) == 4"}],
}
CPP: dict[str, Any] = {"id": "cpp", "prompt": "Add.", "language": "cpp", "tests": SUM["tests"]}
ROWS = [SUM, TWICE, ASSERTED, BROKEN]
GOOD_CPP = "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def fenced(source: str, tag: str = "python") -> str:
    return f"First I think.\n```{tag}\n{source}\n```\nThat is it."


def problems(path: Path, **options: Any) -> dict[str, Problem]:
    task = create("code", "code", {"path": str(path), **options})
    task.load()
    return {p.key.split("/")[1]: p for p in (task.problem(i, 1) for i in range(task.size() or 0))}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("code") / "rows.jsonl", ROWS)


@pytest.fixture(scope="module")
def verifiers(path: Path) -> Iterator[VerifierPool]:
    options = {"path": str(path), "time_s": 1.0, "total_s": 2.0}
    mixture = {
        "code": TaskConfig(name="code", options=options),
        "shares": TaskConfig(name="code", options={**options, "scoring": "fraction"}),
        "sums": TaskConfig(name="arithmetic"),
    }
    with VerifierPool(TasksConfig(mixture=mixture, workers=2, timeout_s=5.0, retries=0)) as pool:
        yield pool


@needs_a_sandbox
@pytest.mark.parametrize(
    ("key", "source", "reward"),
    [
        ("sum", "print(sum(map(int, input().split())))", 1.0),
        ("sum", "a, b = map(int, input().split())\nprint(f'  {a + b} ')", 1.0),
        ("sum", "print(3)", 0.0),
        ("sum", "print(sum(map(int, input().split()))); raise SystemExit(1)", 0.0),
        ("sum", "print(sum(map(int, input().split()))); print('debug')", 0.0),
        ("sum", "while True: pass", 0.0),
        ("sum", "import time; time.sleep(60)", 0.0),
        ("sum", "x = [0] * 10 ** 10", 0.0),
        ("sum", "this is not Python", 0.0),
        ("twice", "def f(x): return x * 2", 1.0),
        ("twice", "class Solution:\n    def f(self, x: List[int]): return x * 2", 1.0),
        ("twice", "def f(x): return tuple(x) * 2 if isinstance(x, list) else x + x", 1.0),
        ("twice", "def g(x): return x * 2", 0.0),
        ("twice", "def f(x): return str(x * 2)", 0.0),
        ("twice", "def f(x): print(x * 2)", 0.0),
        ("asserted", "def f(x): return x * 2", 1.0),
        ("asserted", "def f(x): return x * 2 if x != 7 else 0", 0.0),
        ("asserted", "def f(x): return 0 if x is None else x * 2", 0.0),
    ],
)
def test_verdicts(verifiers: VerifierPool, path: Path, key: str, source: str, reward: float) -> None:
    (verdict,) = verifiers.score([(problems(path)[key], fenced(source))])
    assert (verdict.outcome, verdict.reward) == (Outcome.SCORED, reward), verdict


@needs_a_sandbox
def test_shares_of_tests(verifiers: VerifierPool, path: Path) -> None:
    def shares(key: str, source: str) -> float:
        problem = problems(path)[key]
        moved = Problem(key=problem.key, task="shares", prompt=problem.prompt, entry=problem.entry)
        (verdict,) = verifiers.score([(moved, fenced(source))])
        assert verdict.outcome is Outcome.SCORED
        return verdict.reward

    assert shares("sum", "print(11)") == 0.5
    assert shares("twice", "def f(x): return x + x if type(x) is int else 0") == pytest.approx(1 / 3)
    assert shares("asserted", "def f(x): return x * 2 if x else 0") == 0.75
    assert shares("sum", "while True: pass") == 0.0


@needs_a_sandbox
def test_a_test_that_is_broken_says_nothing_about_the_answer(verifiers: VerifierPool, path: Path) -> None:
    (verdict,) = verifiers.score([(problems(path)["broken"], fenced("def f(x): return 4"))])
    assert verdict.outcome is Outcome.INFRA_ERROR
    assert "undefined" in verdict.detail


@needs_a_sandbox
def test_other_tasks_and_text_without_code(verifiers: VerifierPool, path: Path) -> None:
    sums = create("arithmetic", "sums", {}).problem(0, 1)
    rows = problems(path)
    pairs = [(sums, sums.solution or ""), (rows["sum"], "print(3)"), (rows["sum"], ""), (rows["sum"], "```python\n```")]
    pairs += [(rows["twice"], rows["twice"].solution or "")]
    assert [v.reward for v in verifiers.score(pairs)] == [1.0, 0.0, 0.0, 0.0, 1.0]


@needs_a_sandbox
def test_a_long_answer_reports_progress(path: Path) -> None:
    """Six seconds of computing where a verifier has three: programs have limits of their own."""
    rows = [{"id": "slow", "prompt": "p", "tests": [{"input": str(i), "output": str(i)} for i in (1, 2)]}]
    slow = write(path.with_name("slow.jsonl"), rows)
    config = TasksConfig(
        mixture={"code": TaskConfig(name="code", options={"path": str(slow)})}, workers=1, timeout_s=3.0, retries=0
    )
    source = "import time\nwhile time.process_time() < 3: pass\nprint(input())"
    with VerifierPool(config) as pool:
        (verdict,) = pool.score([(problems(slow)["slow"], fenced(source))])
    assert verdict.reward == 1.0, verdict


@needs_a_sandbox
def test_time_of_all_tests_is_bounded(path: Path) -> None:
    rows = [{"id": "slow", "prompt": "p", "tests": [{"input": str(i), "output": str(i)} for i in range(64)]}]
    slow = write(path.with_name("slow.jsonl"), rows)
    task = create("code", "code", {"path": str(slow), "time_s": 1.0, "total_s": 1.0, "scoring": "fraction"})
    source = "import time\nwhile time.process_time() < 0.4: pass\nprint(input())"
    verdict = task.score(problems(slow)["slow"], fenced(source))
    assert 1 <= round(verdict.reward * 64) <= 3
    assert "time_limit" in verdict.detail or "1 s for all tests" in verdict.detail


@needs(IsolationTier.BUBBLEWRAP, compiler=True)
def test_cpp(path: Path) -> None:
    rows = write(path.with_name("cpp.jsonl"), [CPP])
    mixture = {"code": TaskConfig(name="code", options={"path": str(rows)})}
    problem = problems(rows)["cpp"]
    slow = GOOD_CPP.replace("std::cout", "for (volatile long i = 0; i < 1L << 60; i++);\n std::cout")
    answers = [fenced(GOOD_CPP, "cpp"), fenced(GOOD_CPP.replace("+ b", "- b"), "c++"), fenced("int main() {", "cpp")]
    with VerifierPool(TasksConfig(mixture=mixture, workers=2, timeout_s=30.0)) as pool:
        verdicts = pool.score([(problem, answer) for answer in [*answers, fenced(slow, "cpp")]])
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 0.0, 0.0]
    assert "compile_error" in verdicts[2].detail
    assert "time_limit" in verdicts[3].detail


def test_cpp_is_refused_where_it_cannot_be_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write(path.with_name("cpp.jsonl"), [CPP])
    real = pool.sandbox_specs
    monkeypatch.setattr(pool, "sandbox_specs", lambda tier: [] if tier is IsolationTier.BUBBLEWRAP else real(tier))
    if tier_here(IsolationTier.LANDLOCK)[0] is None:
        pytest.skip("NOT RUN: no landlock sandbox on this machine")
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.code: C\+\+ needs bubblewrap"):
        problems(rows)


def test_no_sandbox_is_refused_and_the_override_shouts(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = pool.sandbox_specs
    monkeypatch.setattr(pool, "sandbox_specs", lambda tier: real(tier) if tier is IsolationTier.UNCONFINED else [])
    with pytest.raises(ConfigError, match="cannot confine programs"):
        problems(path)
    assert problems(path, allow_unconfined=True)
    assert "WITH YOUR RIGHTS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tests": SUM["tests"]}, "'prompt' is missing"),
        ({"prompt": " ", "tests": SUM["tests"]}, "'prompt' must be text"),
        ({"prompt": "p"}, "must be a list with at least one test"),
        ({"prompt": "p", "tests": []}, "at least one test"),
        ({"prompt": "p", "tests": ["x"]}, "test 1: must be an object"),
        ({"prompt": "p", "tests": [*SUM["tests"], {"input": "1"}]}, "test 3: has the fields input"),
        ({"prompt": "p", "tests": [{"input": "1", "output": 1}]}, "output must be text, not int"),
        ({"prompt": "p", "tests": [{"function": "f", "arguments": 1, "expected": 1}]}, "arguments must be a list"),
        ({"prompt": "p", "tests": [{"function": "f()", "arguments": [], "expected": 1}]}, "must be a name"),
        ({"prompt": "p", "tests": [{"function": "f", "code": "assert f("}]}, "code is not Python"),
        ({"prompt": "p", "tests": [{"function": "f", "code": "def test():\n    assert f(1) == 2"}]}, "tests nothing"),
        ({"prompt": "p", "tests": [{"function": "f", "code": "x = f(1)"}]}, "tests nothing"),
        ({"prompt": "p", "tests": SUM["tests"], "language": "rust"}, "language must be python or cpp"),
        ({"prompt": "p", "tests": TWICE["tests"], "language": "cpp"}, "only be tested by input and output"),
        ({"prompt": "p", "tests": SUM["tests"], "id": "sum"}, "'sum' was used before, in .*:1"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    rows = write(tmp_path / "rows.jsonl", [SUM, row])
    with pytest.raises(DataError, match=message) as caught:
        problems(rows)
    assert f"{rows}:2: " in str(caught.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"path": ""}, "path"),
        ({"time_s": 9.0}, "time_s"),
        ({"max_tests": 0}, "max_tests"),
        ({"memory_mb": 1}, "memory_mb"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"scoring": "some"}, "scoring"),
    ],
)
def test_options_are_checked(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"tasks\.mixture\.code\.options\.{key}"):
        create("code", "code", {"path": "rows.jsonl", **options})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("```python\na\n```", "a"),
        ("```py\na\n```\n```\nb\n```", "a"),
        ("```\na\n```\n```\nb\n```", "b"),
        ("```python\na\n```\n```python\nb\n```", "b"),
        ("```python\na\n```\n```bash\nb\n```", "a"),
        ("~~~python\na\n```\n~~~", "a\n```"),
        ("````python\na\n```\nb\n````", "a\n```\nb"),
        ("  ```Python\r\n  a\r\n  ```", "a"),
        ("<think>```python\nx\n```</think>```python\na\n```", "a"),
        ("<think>```python\nx\n```</think>", None),
        ("```python\na", None),
        ("```python\n```", None),
        ("```cpp\na\n```", None),
        ("`a`", None),
        ("", None),
        ("```" * 100_000, None),
        ("```python\n" * 20_000, None),
    ],
)
def test_extraction(answer: str, found: str | None) -> None:
    assert last_block(answer, "python") == found


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("3\n", "3", True), ("3", " 3  \n\n", True), ("a  b", "a b", True), ("a\nb", "a b", False), ("", "\n", True),
        ("", "0", False), ("3", "", False), ("3", "03", False), ("3", "3.0", False), ("3", "４", False),
        ("3", "٣", False),
        ("3.0", "3", True), ("0.3333333333", "0.33333333", True), ("0.3333", "0.3334", False), ("1.5", "nan", False),
        ("1.5", "1_5", False), ("1e9", "1000000000", True), ("1e999", "2e999", False), ("inf", "1e999", False),
        ("1.0", "0x1", False), ("YES", "yes", False), ("1\n\n2", "1\n2", False), ("1.0", "1.0000001", True),
        ("123456789", "123456788", False), ("1.0", "١", False), ("0.0", "0.0000001", False), ("-0.0", "0", True),
    ],
)  # fmt: skip
def test_outputs_compare_as_words(expected: str, got: str, same: bool) -> None:
    assert same_output(expected, got, 1e-6) is same


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (1, 1, True), (1, 1.0, True), (1, True, False), (True, 1, False), (True, True, True), (0, False, False),
        (1.0, 1, True), (0.3, 0.1 + 0.2, True), (0.3, 0.31, False), (0.3, "0.3", False), (0.3, float("nan"), False),
        ("a", "a", True), ("a", b"a", False), (None, None, True), (None, 0, False), (None, False, False),
        ([1, [2]], (1, [2]), True), ([1], [1, 2], False), ([1, 2], {1, 2}, False), ([], (), True), ([], {}, False),
        ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, {"a": 2}, False), ({"a": 1}, {"b": 1}, False),
        ({"1": 1}, {1: 1}, False),
        ({"a": [1], "b": 2}, {"b": 2, "a": (1,)}, True), ({}, {}, True), ({}, [], False), ({1, 2}, {2, 1}, True),
        (10**30, 10**30, True), (10**30, 10**30 + 1, False), (1.0, 10**400, False), ([0.5], [0.5000000001], True),
    ],
)  # fmt: skip
def test_values_compare_as_plain_data(expected: Any, got: Any, same: bool) -> None:
    assert same_value(plain(expected), plain(got), 1e-6) is same
