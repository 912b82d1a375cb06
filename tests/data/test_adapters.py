"""Every published schema is found by its columns and becomes what it should, from files in exactly those schemas."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from helpers.published import ADD, ALL, FILES, PROGRAMS, TWICE, live, pickled, stdin, write
from helpers.sandboxes import tier_here

from prorl_mega.data.adapters import SAME, SCHEMAS
from prorl_mega.data.adapters.stored_tests import stored_text
from prorl_mega.data.canonical import Domain
from prorl_mega.data.rows import BadRowError
from prorl_mega.data.schemas import detect, read
from prorl_mega.errors import DataError
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.tasks import create

MATH, STEM, CODE, INSTRUCTION, LOGIC = Domain
ADD_TESTS = [{"input": "1 2\n", "output": "3\n"}, {"input": "3 4\n", "output": "7\n"}]
TWICE_TESTS = [
    {"function": "twice", "arguments": [2], "expected": 4},
    {"function": "twice", "arguments": [[1]], "expected": [1, 1]},
]
THINK = "\nYou may think.\n"
POLAR = "\\left( 3, \\frac{\\pi}{2} \\right)"


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


EXPECTED: list[tuple[str, Domain, str, list[dict[str, Any]]]] = [
    ("deepscaler.jsonl", MATH, "answers", [
        {"id": "1", "prompt": "What is $3+4$?", "answer": "7", "solution": "Adding gives $\\boxed{7}$."},
        {"id": "2", "prompt": "Halve $3$.", "answer": "\\frac{3}{2}"}]),
    ("eurus.parquet", MATH, "answers", [
        {"id": "1", "answer": "32", "system": THINK,
         "prompt": "What is $2^5$?\n\nPresent the answer in LaTex format: \\boxed{Your answer}"}]),
    ("eurus.parquet", CODE, "tests", [
        {"id": "2", "system": THINK, "prompt": "Add two numbers.", "tests": ADD_TESTS},
        {"id": "3", "system": THINK, "prompt": "Double.\n\nWrite a function called `twice`.", "tests": TWICE_TESTS}]),
    ("aime_2024.parquet", MATH, "answers", [
        {"id": "60", "prompt": "Find $m+n$.", "answer": "025", "solution": "It is $\\boxed{025}$."}]),
    ("aimo_aime.parquet", MATH, "answers", [
        {"id": "0", "prompt": "Find $k$.", "answer": "116", "solution": "So $k=\\boxed{116}$."}]),
    ("aime_capitals.jsonl", MATH, "answers", [
        {"id": "2024-II-4", "prompt": "Find $n$.", "answer": "33", "solution": "Then $n=33$."}]),
    ("aime24_boxed.jsonl", MATH, "answers", [
        {"id": "5", "prompt": "Find $r$.", "answer": "204", "solution": boxed("204")}]),
    ("aime25.jsonl", MATH, "answers", [{"id": "0", "prompt": "Find $t$.", "answer": "70"}]),
    ("matharena.parquet", MATH, "answers", [{"id": "1", "prompt": "Find $u$.", "answer": "588"}]),
    ("aimo_amc.parquet", MATH, "answers", [{"id": "0", "prompt": "Find $v$.", "answer": "142"}]),
    ("amc23.jsonl", MATH, "answers", [{"id": "3", "prompt": "Find $w$.", "answer": "27"}]),
    ("math500.jsonl", MATH, "answers", [
        {"id": "test/precalculus/7.json", "level": "2", "prompt": "Convert $(0,3)$.", "answer": POLAR,
         "solution": f"So ${boxed(POLAR)}$."}]),
    ("minerva.jsonl", MATH, "answers", [{"id": "1", "prompt": "How far is it, in parsecs?", "answer": "1.6e3"}]),
    ("minerva_boxed.jsonl", MATH, "answers", [
        {"id": "0", "prompt": "How bright is it?", "answer": "\\text{4.5e33} \\mathrm{erg}",
         "solution": "It is \\boxed{\\text{4.5e33} \\mathrm{erg}}."}]),
    ("olympiadbench.parquet", MATH, "answers", [
        {"id": "1606", "prompt": "Let $x$ be real.\n\nFind all $x$ with $x^2=4$.", "answer": "$2$, $-2$",
         "solution": "Take roots: $x=2$ or $x=-2$."}]),
    ("gsm8k.parquet", MATH, "answers", [
        {"id": "1", "prompt": "Two and two?", "answer": "1004", "solution": "2+2=<<2+2=4>>4\n\\boxed{1,004}"}]),
    ("scp116k.jsonl", STEM, "scp116k", [
        {"id": "1", "prompt": "How fast?", "answer": "3\\,\\text{m/s}",
         "solution": "By energy, \\boxed{3\\,\\text{m/s}}."},
        {"id": "2", "prompt": "Which gas?", "answer": "Carbon dioxide", "solution": "Carbon dioxide"}]),
    ("gpqa_diamond.csv", STEM, "choices", [
        {"id": "rec1", "prompt": "Which is right?", "answer": "B,\nreally", "choices": ["B,\nreally", "A", "C", "D"],
         "solution": "Because."}]),
    ("llama_nemotron_if.jsonl", INSTRUCTION, "llama_nemotron_if", [
        {"id": "1", "prompt": "Write about tea. Use no commas.",
         "constraints": [{"kind": "punctuation:no_comma"},
                         {"kind": "length_constraints:number_words", "num_words": 20, "relation": "less than"}]}]),
    ("ifeval.jsonl", INSTRUCTION, "ifeval", [
        {"id": "1000", "prompt": "Answer with at least 3 sections.", "constraints": [
            {"kind": "detectable_format:multiple_sections", "section_spliter": "Section", "num_sections": 3}]}]),
    ("ifeval.parquet", INSTRUCTION, "ifeval", [
        {"id": "1001", "prompt": "Shout about rain, without commas.",
         "constraints": [{"kind": "change_case:english_capital"}, {"kind": "punctuation:no_comma"}]}]),
    ("reasoning_gym.jsonl", LOGIC, "reasoning_gym", [
        {"id": "1", "prompt": "What is 1 + 1?",
         "entry": {"question": "What is 1 + 1?", "answer": "2",
                   "metadata": {"source_dataset": "basic_arithmetic", "source_index": 0,
                                "difficulty": {"num_terms": 2}}}}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "domain", "schema", "rows"), EXPECTED, ids=[f"{e[0]}-{e[1]}" for e in EXPECTED])
def test_rows_become_canonical(name: str, domain: Domain, schema: str, rows: list[dict[str, Any]]) -> None:
    table = read(str(FILES / name), domain, skip=0.5)
    assert table.schema == schema
    assert [row.fields for row in table.rows] == rows


def test_the_files_are_what_the_tables_say(tmp_path: Path) -> None:
    for name, rows in ALL.items():
        write(tmp_path / name, rows)
        if not name.endswith(".parquet"):  # those hold the name of the library's version as well
            assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes(), name
    assert {name for name, *_ in EXPECTED} | set(PROGRAMS) == {path.name for path in FILES.iterdir()}


def test_names_of_earlier_versions_are_still_good() -> None:
    """Also those of sets that share a schema now; Eurus-2-RL-Data by its name comes without its system turn."""
    for name, old in [("aime25.jsonl", "aime"), ("amc23.jsonl", "amc"), ("math500.jsonl", "math500"),
                      ("minerva.jsonl", "minerva"), ("olympiadbench.parquet", "olympiadbench"),
                      ("deepscaler.jsonl", "deepscaler"), ("gpqa_diamond.csv", "gpqa"), ("apps.jsonl", "apps"),
                      ("taco.parquet", "taco")]:  # fmt: skip
        domain = SCHEMAS[SAME[old]].domain
        assert (
            read(str(FILES / name), domain, schema=old, skip=0.5).rows == read(str(FILES / name), domain, skip=0.5).rows
        )
    for old, domain in (("eurus_math", MATH), ("eurus_code", CODE)):
        rows = [row.fields for row in read(str(FILES / "eurus.parquet"), domain, schema=old).rows]
        named = [row.fields for row in read(str(FILES / "eurus.parquet"), domain).rows]
        assert all("system" not in row for row in rows)
        assert [row | {"system": THINK} for row in rows] == named


@pytest.mark.skipif(
    all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2]), reason="NOT RUN: no sandbox on this machine"
)
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs_of_the_files_pass_their_tests(name: str) -> None:
    task = create("code", "code", {"path": str(FILES / name), "skip": 0.5})
    task.load()
    for index in range(task.size() or 0):
        problem = task.problem(index, 1)
        own = TWICE if "function" in problem.entry["tests"][0] else ADD
        verdict = task.score(problem, problem.solution or f"```python\n{own}```")
        assert verdict.reward == 1.0, (problem, verdict)
        assert task.score(problem, "```python\nprint(0)\n```").reward == 0.0


def test_the_forms_of_tests_of_programs() -> None:
    apps = read(str(FILES / "apps.jsonl"), CODE, skip=0.5)
    assert [row.fields["id"] for row in apps.rows] == ["4000", "4001"]
    assert apps.rows[0].fields["tests"] == [ADD_TESTS[0], {"input": "3 4\n", "output": "7"}]
    assert apps.rows[1].fields["tests"] == TWICE_TESTS
    assert "class Solution:\n    def twice(self, x):\n```" in apps.rows[1].fields["prompt"]
    assert dict(apps.skipped) == {"no input_output": 1}
    contests = read(str(FILES / "code_contests.parquet"), CODE).rows[0].fields
    assert contests["tests"] == [ADD_TESTS[0], {"input": "4 5\n", "output": "9\n"}]


def test_the_text_in_a_pickle_is_read_without_unpickling() -> None:
    """LiveCodeBench stores the private tests as a compressed pickle of their JSON."""
    path = str(FILES / "livecodebench.jsonl")
    whole = read(path, CODE)
    assert [len(row.fields["tests"]) for row in whole.rows] == [2, 2, 2]
    assert whole.rows[1].fields["tests"] == TWICE_TESTS
    assert whole.rows[2].fields["tests"] == ADD_TESTS
    public = read(path, CODE, schema="livecodebench_public")
    assert [len(row.fields["tests"]) for row in public.rows] == [1, 1, 1]


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_all_protocols(protocol: int) -> None:
    """Protocol 0 has lines instead of lengths, and nobody stores tests with it."""
    for text in ("[]", "ü" * 10, "x" * 300, "y" * 70_000):
        stored = base64.b64encode(zlib.compress(pickle.dumps(text, protocol))).decode()
        if protocol:
            assert stored_text(stored) == text
        else:
            with pytest.raises(BadRowError, match="more than a text"):
                stored_text(stored)
    for thing in (["[]"], b"[]", None, 3, {"a": "b"}, ("x", "y"), Path("x")):
        with pytest.raises(BadRowError, match="more than a text"):
            stored_text(base64.b64encode(zlib.compress(pickle.dumps(thing, protocol))).decode())


def test_what_is_no_stored_text(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = base64.b64decode(pickled("x" * 5000))
    for data, message in ((b"", "are truncated"), (b"hello world", "nor compressed"), (whole[:-3], "truncated"),
                          (zlib.compress(b"\x80\x04X\xff\xff\xff\xffab."), "more than a text"),
                          (zlib.compress(b"\x80\x04\x8c\x01\xff."), "invalid UTF-8")):  # fmt: skip
        with pytest.raises(BadRowError, match=message):
            stored_text(base64.b64encode(data).decode())
    with pytest.raises(BadRowError, match="neither JSON nor"):
        stored_text("no base64!")
    monkeypatch.setattr("prorl_mega.data.adapters.stored_tests.LARGEST", 1000)
    with pytest.raises(BadRowError, match="or are truncated"):
        stored_text(pickled("x" * 5000))


def test_a_bomb_among_the_tests_does_not_go_off(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (mark,))

    write(tmp_path / "live.jsonl", [live("a", [stdin("1", "1")], pickled(Bomb())), live("b", [], pickled(Bomb()))])
    for schema in ("livecodebench", "livecodebench_public"):
        with pytest.raises(DataError):
            read(str(tmp_path / "live.jsonl"), CODE, schema=schema)
    assert not mark.exists()


def test_an_index_among_the_columns_does_not_count() -> None:
    assert detect([ALL["aime_2024.parquet"][0] | {"__index_level_0__": 3}], MATH, "x") == ("answers", MATH)


def test_unknown_columns_and_schemas_are_named(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [{"frage": "1+1?", "antwort": "2"}])
    with pytest.raises(DataError, match=r"no known schema of math has the columns antwort, frage.*rename columns to"):
        read(str(tmp_path / "x.jsonl"), MATH)
    with pytest.raises(DataError, match=r"no math schema is called 'deepscaller'.*deepscaler"):
        read(str(tmp_path / "x.jsonl"), MATH, schema="deepscaller")
    with pytest.raises(DataError, match="no math schema is called 'apps'"):
        read(str(tmp_path / "x.jsonl"), MATH, schema="apps")


@pytest.mark.parametrize(
    ("schema", "domain", "name", "change", "message"),
    [
        ("eurus_math", MATH, "eurus.parquet", {"prompt": []}, "one message of the user"),
        ("eurus_math", MATH, "eurus.parquet", {"reward_model": "x"}, "'reward_model' must be an object"),
        ("eurus_code", CODE, "eurus.parquet", {"ability": "code"}, "'ground_truth' holds no tests"),
        ("apps", CODE, "apps.jsonl", {"input_output": "{"}, "'input_output' does not hold JSON"),
        ("apps", CODE, "apps.jsonl", {"input_output": {"inputs": [1], "outputs": []}}, "as many outputs as inputs"),
        ("ifeval", INSTRUCTION, "ifeval.jsonl", {"kwargs": [{}, {}]}, "parameters for each of the 1 instructions"),
        ("ifeval", INSTRUCTION, "ifeval.jsonl", {"instruction_id_list": "no"}, "does not hold JSON"),
        ("llama_nemotron_if", INSTRUCTION, "llama_nemotron_if.jsonl", {"args": None}, "'args' must be an object"),
        ("reasoning_gym", LOGIC, "reasoning_gym.jsonl", {"metadata": {}}, "metadata names its source_dataset"),
        ("gpqa", STEM, "gpqa_diamond.csv", {"Incorrect Answer 1": "C"}, "at least two different texts"),
        ("aime", MATH, "aime24_boxed.jsonl", {"solution": "\\boxed{20"}, "no complete"),
        ("gsm8k", MATH, "gsm8k.parquet", {"answer": "4"}, "does not end with ####"),
    ],
)
def test_what_a_row_lacks_is_named(
    tmp_path: Path, schema: str, domain: Domain, name: str, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ALL[name][0] | change))
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{message}"):
        read(str(path), domain, schema=schema)
