"""Every published schema is found by its columns and becomes what it should, from files in exactly those schemas."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.published import ADD, ALL, FILES, PROGRAMS, TWICE, eurus, live, pickled, stdin, write
from helpers.sandboxes import tier_here

from prorl_mega.data.adapters import SCHEMAS
from prorl_mega.data.canonical import Domain
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
POLAR = "\\left( 3, \\frac{\\pi}{2} \\right)"


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


EXPECTED: list[tuple[str, Domain, str, list[dict[str, Any]]]] = [
    ("deepscaler.jsonl", MATH, "deepscaler", [
        {"id": "1", "prompt": "What is $3+4$?", "answer": "7", "solution": "Adding gives $\\boxed{7}$."},
        {"id": "2", "prompt": "Halve $3$.", "answer": "\\frac{3}{2}"}]),
    ("eurus.parquet", MATH, "eurus_math", [
        {"id": "1", "answer": "32",
         "prompt": "What is $2^5$?\n\nPresent the answer in LaTex format: \\boxed{Your answer}"}]),
    ("eurus.parquet", CODE, "eurus_code", [
        {"id": "2", "prompt": "Add two numbers.", "tests": ADD_TESTS},
        {"id": "3", "prompt": "Double.\n\nWrite a function called `twice`.", "tests": TWICE_TESTS}]),
    ("aime_2024.parquet", MATH, "aime", [
        {"id": "60", "prompt": "Find $m+n$.", "answer": "025", "solution": "It is $\\boxed{025}$."}]),
    ("aimo_aime.parquet", MATH, "aime", [
        {"id": "0", "prompt": "Find $k$.", "answer": "116", "solution": "So $k=\\boxed{116}$."}]),
    ("aime_capitals.jsonl", MATH, "aime", [
        {"id": "2024-II-4", "prompt": "Find $n$.", "answer": "33", "solution": "Then $n=33$."}]),
    ("aime24_boxed.jsonl", MATH, "aime", [
        {"id": "5", "prompt": "Find $r$.", "answer": "204", "solution": boxed("204")}]),
    ("aime25.jsonl", MATH, "aime", [{"id": "0", "prompt": "Find $t$.", "answer": "70"}]),
    ("matharena.parquet", MATH, "aime", [{"id": "1", "prompt": "Find $u$.", "answer": "588"}]),
    ("aimo_amc.parquet", MATH, "amc", [{"id": "0", "prompt": "Find $v$.", "answer": "142"}]),
    ("amc23.jsonl", MATH, "amc", [{"id": "3", "prompt": "Find $w$.", "answer": "27"}]),
    ("math500.jsonl", MATH, "math500", [
        {"id": "test/precalculus/7.json", "level": "2", "prompt": "Convert $(0,3)$.", "answer": POLAR,
         "solution": f"So ${boxed(POLAR)}$."}]),
    ("minerva.jsonl", MATH, "minerva", [{"id": "1", "prompt": "How far is it, in parsecs?", "answer": "1.6e3"}]),
    ("minerva_boxed.jsonl", MATH, "minerva", [
        {"id": "0", "prompt": "How bright is it?", "answer": "\\text{4.5e33} \\mathrm{erg}",
         "solution": "It is \\boxed{\\text{4.5e33} \\mathrm{erg}}."}]),
    ("olympiadbench.parquet", MATH, "olympiadbench", [
        {"id": "1606", "prompt": "Let $x$ be real.\n\nFind all $x$ with $x^2=4$.", "answer": "$2$, $-2$",
         "solution": "Take roots: $x=2$ or $x=-2$."}]),
    ("gsm8k.parquet", MATH, "gsm8k", [
        {"id": "1", "prompt": "Two and two?", "answer": "1004", "solution": "2+2=<<2+2=4>>4\n\\boxed{1,004}"}]),
    ("scp116k.jsonl", STEM, "scp116k", [
        {"id": "1", "prompt": "How fast?", "answer": "3\\,\\text{m/s}",
         "solution": "By energy, \\boxed{3\\,\\text{m/s}}."},
        {"id": "2", "prompt": "Which gas?", "answer": "Carbon dioxide", "solution": "Carbon dioxide"}]),
    ("gpqa_diamond.csv", STEM, "gpqa", [
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
AMBIGUOUS = {"minerva.jsonl", "gsm8k.parquet"}


@pytest.mark.parametrize(("name", "domain", "schema", "rows"), EXPECTED, ids=[f"{e[0]}-{e[1]}" for e in EXPECTED])
def test_rows_become_canonical(name: str, domain: Domain, schema: str, rows: list[dict[str, Any]]) -> None:
    asked = schema if name in AMBIGUOUS else "auto"
    table = read(str(FILES / name), domain, schema=asked, skip=0.5)
    assert table.schema == schema
    assert [row.fields for row in table.rows] == rows


def test_the_files_are_what_the_tables_say(tmp_path: Path) -> None:
    for name, rows in ALL.items():
        write(tmp_path / name, rows)
        if not name.endswith(".parquet"):  # those hold the name of the library's version as well
            assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes(), name
    assert {name for name, *_ in EXPECTED} | set(PROGRAMS) == {path.name for path in FILES.iterdir()}


def test_every_schema_has_a_file() -> None:
    found = {schema for _, _, schema, _ in EXPECTED}
    assert found | {"apps", "taco", "code_contests", "humanevalplus", "livecodebench", "livecodebench_public"} == set(
        SCHEMAS
    )


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


def test_pickled_tests_are_never_unpickled() -> None:
    path = str(FILES / "livecodebench.jsonl")
    with pytest.raises(DataError, match=r"livecodebench\.jsonl:3: .*livecodebench_public takes the public tests only"):
        read(path, CODE)
    some = read(path, CODE, skip=0.4)
    assert [len(row.fields["tests"]) for row in some.rows] == [2, 2]
    assert some.rows[1].fields["tests"] == TWICE_TESTS
    public = read(path, CODE, schema="livecodebench_public")
    assert [len(row.fields["tests"]) for row in public.rows] == [1, 1, 1]


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


def test_columns_that_fit_several_schemas_are_an_error() -> None:
    for name in AMBIGUOUS:
        with pytest.raises(DataError, match=r"could be aime or minerva or gsm8k by its columns .*choose with schema"):
            read(str(FILES / name), MATH)
    with pytest.raises(DataError, match="eurus_math or eurus_code"):
        detect([eurus("math", "q", "1", 0)], None, "x")


def test_an_index_among_the_columns_does_not_count() -> None:
    assert detect([ALL["aime_2024.parquet"][0] | {"__index_level_0__": 3}], MATH, "x") == ("aime", MATH)


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
