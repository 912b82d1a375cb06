"""Sets as published are read, whatever columns they have besides; others are refused with the line that reads them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.formats import FORMATS, UNKNOWN, Format, box
from helpers.published import write
from helpers.sandboxes import tier_here

from prorl_mega.data.__main__ import main
from prorl_mega.data.canonical import Domain
from prorl_mega.data.schemas import detect, read
from prorl_mega.errors import ConfigError, DataError, ExitCode
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.tasks import Task, create

HARMLESS = {"idx": 1, "url": "https://example.org", "source": "x", "level": "1", "tags": ["a"], "note": None}
no_sandbox = all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2])


def load(path: Path, rows: list[dict[str, Any]], name: str, **options: Any) -> Task:
    write(path, rows)
    task = create(name, "file", {"path": str(path), **options})
    task.load()
    return task


def file(folder: Path, each: Format) -> Path:
    return folder / f"rows{'.jsonl' if each.kind == '.json' else each.kind}"


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_set_as_published_is_read_and_judged(tmp_path: Path, name: str) -> None:
    each = FORMATS[name]
    if each.task == "code" and no_sandbox:
        pytest.skip("NOT RUN: no sandbox on this machine")
    task = load(file(tmp_path, each), each.rows, each.task)
    assert task.size() == len(each.rows), "every row is a problem"
    problems = [task.problem(index, 1) for index in range(len(each.rows))]
    by_key = {problem.key: problem for problem in problems}
    assert len(by_key) == len(each.rows)
    order = [row["id"] for row in task.rows()]  # type: ignore[attr-defined]
    for identifier, answer in zip(order, each.right, strict=True):
        problem = by_key[f"file/{identifier}"]
        assert task.score(problem, answer).reward == 1, (problem, answer)
        assert task.score(problem, each.wrong).reward < 0.9, problem
    assert each.prompt in by_key[f"file/{order[0]}"].prompt


def test_the_domain_is_found_as_well() -> None:
    """Without one, choices are science, and other short answers mathematics."""
    domains = {"math": "math", "stem": "stem", "code": "code", "ifeval": "instruction", "logic": "logic"}
    found = {name: detect(each.rows, None, name)[1] for name, each in FORMATS.items()}
    expected = {name: domains[each.task] for name, each in FORMATS.items() if "as mathematics" not in name}
    assert found == found | expected | {"webinstruct": "math"}


@pytest.mark.parametrize("name", list(FORMATS))
def test_further_columns_do_not_matter(tmp_path: Path, name: str) -> None:
    each = FORMATS[name]
    domain = create(each.task, "file", {"path": "x"}).domain
    assert domain is not None
    write(tmp_path / "a.jsonl", each.rows)
    plain = read(str(tmp_path / "a.jsonl"), domain)
    for column, value in HARMLESS.items():
        write(tmp_path / "b.jsonl", [{column: value} | row for row in each.rows])
        more = read(str(tmp_path / "b.jsonl"), domain)
        assert more.schema == plain.schema
        for one, other in zip(plain.rows, more.rows, strict=True):
            assert one.fields | {"id": "", "level": ""} == other.fields | {"id": "", "level": ""}, column


@pytest.mark.parametrize("name", list(UNKNOWN))
def test_other_columns_are_refused_with_the_line_that_reads_them(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task, rows, answer = UNKNOWN[name]
    path = tmp_path / "rows.jsonl"
    with pytest.raises(DataError, match=r"no known schema of .* this option reads it: columns: \{") as refusal:
        load(path, rows, task)
    line = re.search(r"columns: \{.*?\}(?=\. )", str(refusal.value))
    assert line is not None
    made = load(path, rows, task, **yaml.safe_load(line[0]))
    problems = {made.problem(index, 1).key: made.problem(index, 1) for index in range(len(rows))}
    assert made.score(problems["file/1"], box(answer)).reward == 1
    domain = str(made.domain)
    assert main(["validate", str(path), "--domain", domain]) == ExitCode.DATA
    assert line[0] in capsys.readouterr().err
    assert main(["validate", str(path), "--domain", domain, "--columns", line[0]]) == 0


def test_tests_in_columns_of_other_names(tmp_path: Path) -> None:
    rows = [{"aufgabe": "Write a function twice that doubles.", "n": 1, "pruefung": ["assert twice(2) == 4"]}]
    with pytest.raises(DataError, match=r"columns: \{prompt: aufgabe, tests: pruefung\}"):
        load(tmp_path / "a.jsonl", rows, "code")
    task = load(tmp_path / "a.jsonl", rows, "code", columns={"prompt": "aufgabe", "tests": "pruefung"})
    assert task.problem(0, 1).entry["tests"] == [{"function": "twice", "code": "assert twice(2) == 4"}]


def test_named_columns_go_before_what_a_schema_would_read(tmp_path: Path) -> None:
    rows = [{"prompt": "old", "question": "1+1?", "answer": "9", "meta": {"found": [{"value": 2}]}, "hard": 5}]
    names = {"prompt": "question", "answer": "meta.found.0.value", "level": "hard"}
    task = load(tmp_path / "a.jsonl", rows, "math", columns=names)
    (row,) = task.rows()  # type: ignore[attr-defined]
    assert row == {"prompt": "1+1?", "answer": "2", "level": "5", "verifier": "math", "id": "1"}
    conversation = [{"role": "system", "content": "Think."}, {"role": "user", "content": "1+1?"}]
    rows = [{"data_source": "x", "prompt": conversation, "reward_model": {"ground_truth": "2"}}]
    assert load(tmp_path / "b.jsonl", rows, "math").problem(0, 1).system == "Think."
    bare = load(tmp_path / "b.jsonl", rows, "math", columns={"prompt": "prompt.1.content"}).problem(0, 1)
    assert (bare.prompt, bare.system) == ("1+1?", "")


def test_names_that_are_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"frage": "1+1?", "antwort": "2"}]
    with pytest.raises(DataError, match=r"columns\.answer: no row has 'antwrt'; the columns are antwort, frage"):
        load(tmp_path / "a.jsonl", rows, "math", columns={"prompt": "frage", "answer": "antwrt"})
    with pytest.raises(
        ConfigError, match=r"tasks\.mixture\.file\.options\.columns\.anwser: .*did you mean 'answer'.*Valid"
    ):
        load(tmp_path / "a.jsonl", rows, "math", columns={"prompt": "frage", "anwser": "antwort"})
    with pytest.raises(ConfigError, match=r"options\.columns: must be of type dict"):
        load(tmp_path / "a.jsonl", rows, "math", columns="frage")
    for wrong in ("frage", "{prompt", "{prompt: [a]}", "{promt: frage}"):
        with pytest.raises(SystemExit):
            main(["validate", str(tmp_path / "a.jsonl"), "--columns", wrong])
    assert "must be written {prompt: COLUMN, answer: COLUMN}" in capsys.readouterr().err


def test_where_two_schemas_fit_the_first_that_reads_every_row_wins(tmp_path: Path) -> None:
    """Choices and short answers have the same columns; the answer of one row is none of its choices."""
    chosen = [{"question": f"{i}?", "choices": ["a", "b"], "answer": "a", "unit": "m"} for i in range(9)]
    write(tmp_path / "a.jsonl", chosen)
    assert read(str(tmp_path / "a.jsonl"), Domain.stem).schema == "choices"
    write(tmp_path / "a.jsonl", [row | {"choices": None} for row in chosen])
    assert read(str(tmp_path / "a.jsonl"), Domain.stem).schema == "short_answers"
    write(tmp_path / "a.jsonl", [*chosen, {"question": "x?", "choices": ["a", "b"], "answer": "z"}])
    with pytest.raises(DataError, match=r"a\.jsonl:10: the answer must be one of the choices A, B, not 'z'"):
        read(str(tmp_path / "a.jsonl"), Domain.stem)
    assert len(read(str(tmp_path / "a.jsonl"), Domain.stem, skip=0.1).rows) == 9, "most rows decide, then"


def test_marked_answers_among_plain_ones(tmp_path: Path) -> None:
    for prompt in ("question", "prompt"):
        rows = [{prompt: f"{i}?", "answer": f"so\n#### {i}"} for i in range(150)]
        write(tmp_path / "a.jsonl", [*rows, {prompt: "x?", "answer": "5"}])
        table = read(str(tmp_path / "a.jsonl"), Domain.math)
        assert [table.rows[place].fields["answer"] for place in (3, 149, 150)] == ["3", "149", "5"]


def test_an_identifier_that_repeats_is_none(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"idx": i % 2, "question": f"{i}?", "answer": i} for i in range(4)])
    assert [row.fields["id"] for row in read(str(tmp_path / "a.jsonl"), Domain.math).rows] == ["0", "1", "0-3", "1-4"]


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("math", {"question": "Which?", "choices": ["a", "b"], "answer": 7}, "one of the choices A, B, not '7'"),
        ("stem", {"question": "Which?", "options": ["a", "b"], "answer": "d"}, "one of the choices A, B, not 'd'"),
        ("math", {"question": "Look.", "answer": "1", "image": {"bytes": "x"}}, "has no problems"),
        ("code", {"problem": "p", "tests": "[1, 2]"}, "must be a list of objects, or of assertions"),
        ("code", {"problem": "p", "tests": "print(1)"}, "'tests' holds no tests"),
        ("code", {"problem": "p", "tests": "assert 1 ="}, "neither JSON nor Python"),
        ("code", {"problem": "p", "tests": "assert sorted([1]) == [1]"}, "call no function, and no field names it"),
        ("code", {"problem": "p", "tests": [{"input": "1"}]}, "must have input and output, not input"),
        ("code", {"query": "p", "entry_point": "Solution().f", "starter_code": "def f(self, head: ListNode):",
                  "test": "def check(candidate): pass"}, "pass linked nodes"),
        ("code", {"prompt": "def f(x):", "entry_point": "f", "test": "x = 1"}, "'test' holds no tests"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_judged_is_named(tmp_path: Path, task: str, row: dict[str, Any], message: str) -> None:
    good = FORMATS["leetcode"].rows if "query" in row else []
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.jsonl", [*good, row], task)
