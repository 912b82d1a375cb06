"""Instructions from files: every kind in a table of our own, parameters, hostile texts, the task itself."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import create, extract
from prorl_mega.tasks.instruction import language
from prorl_mega.tasks.instruction.check_registry import CHECKS, checked, followed
from prorl_mega.tasks.instruction.ifeval_checks import IFEVAL_CHECKS
from prorl_mega.types import Problem

TABLE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "tables/instruction.yaml").read_text())
ROWS = [
    (group["constraint"], text, sign == "good") for group in TABLE for sign in ("good", "bad") for text in group[sign]
]
MISSED = [(group["constraint"], text) for group in TABLE for text, _ in group.get("missed", [])]
IFEVAL = """
    keywords:existence keywords:frequency keywords:forbidden_words keywords:letter_frequency language:response_language
    length_constraints:number_sentences length_constraints:number_paragraphs length_constraints:number_words
    length_constraints:nth_paragraph_first_word detectable_content:number_placeholders detectable_content:postscript
    detectable_format:number_bullet_lists detectable_format:constrained_response
    detectable_format:number_highlighted_sections detectable_format:multiple_sections detectable_format:json_format
    detectable_format:title combination:two_responses combination:repeat_prompt startend:end_checker startend:quotation
    change_case:capital_word_frequency change_case:english_capital change_case:english_lowercase punctuation:no_comma
"""
HOSTILE = [
    "*" * 300_000,
    "* " * 150_000,
    "**a" * 90_000,
    "[" * 300_000,
    "[a" * 150_000,
    "<<" * 150_000,
    "<<a" * 90_000,
    "{" * 300_000,
    '[{"a":' * 50_000,
    '"' * 300_000,
    ' "a' * 90_000,
    "\n" * 300_000,
    "a\n" * 150_000,
    ". " * 150_000,
    "A. " * 90_000,
    "Section 1\n" * 30_000,
    "Section " * 40_000,
    "P.S. " * 60_000,
    "\nP.S." * 60_000,
    "My answer is yes." * 18_000,
    "```" * 90_000,
    "```json\n" * 40_000,
    "***\n" * 70_000,
    "******" * 50_000,
    "| a " * 70_000,
    "|---" * 70_000 + "|",
    "river " * 50_000,
    "\x00\x07\x1b[2J\u202e\ufeff" * 30_000,
    "\ud800" * 300_000,
    "é́" * 100_000,
    "```json\n" + " " * 300_000 + "x",
    "```json\n" + "{" * 300_000 + "```",
    *(
        "a" + each * (300_000 // len(each)) + "b"
        for each in ("\n", " ", "\t", ".", "!", '"', "'", "*", "_", "-", ":", " .", "\n\n ")
    ),
    "a" * 10_000_000,
    "Ünïcödé " * 40_000,
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "prompt": "Say it without commas.",
            "constraints": [{"kind": "punctuation:no_comma"}],
            "solution": "So be it.",
        },
        {
            "prompt": "Two bullets, a title, no shouting.",
            "constraints": [
                {"kind": "detectable_format:number_bullet_lists", "num_bullets": 2, "relation": None},
                {"kind": "detectable_format:title"},
                {"kind": "punctuation:punctuation_exclamation"},
            ],
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def problems(file: Path, **options: Any) -> tuple[Any, dict[str, Problem]]:
    task = create("ifeval", "if", {"path": str(file), **options})
    task.load()
    return task, {problem.prompt[:3]: problem for problem in (task.problem(index, 1) for index in range(2))}


def test_all_kinds_of_ifeval_are_there() -> None:
    assert set(IFEVAL_CHECKS) == set(IFEVAL.split())
    assert len(IFEVAL_CHECKS) == 25


def test_the_table_is_large_and_covers_every_kind_with_both_signs() -> None:
    assert len(ROWS) >= 1000
    assert len({(json.dumps(constraint), text) for constraint, text, _ in ROWS}) == len(ROWS)
    for kind in CHECKS:
        signs = [expected for constraint, _, expected in ROWS if constraint["kind"] == kind]
        assert len(signs) >= 8, kind
        assert {True, False} == set(signs), kind


def test_no_answer_of_the_table_is_judged_wrongly() -> None:
    wrong = [(c, text) for c, text, expected in ROWS if followed(text, [checked(c)]) != [expected]]
    assert wrong == []


def test_false_negatives_are_those_that_are_listed() -> None:
    assert [text for constraint, text in MISSED if followed(text, [checked(constraint)]) != [False]] == []
    assert len(MISSED) == 7


def test_blank_answers_follow_nothing() -> None:
    for group in TABLE:
        assert [followed(text, [checked(group["constraint"])]) for text in ("", " \n\t")] == [[False]] * 2


def test_the_same_text_is_always_judged_alike() -> None:
    texts = [(checked(c), text) for c, text, _ in ROWS if c["kind"].startswith(("language", "change_case"))]
    first = [followed(text, [constraint]) for constraint, text in texts]
    for _ in range(19):
        language._word.cache_clear()
        assert [followed(text, [constraint]) for constraint, text in texts] == first


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"kind": "punctuation:no_commas"}, "did you mean 'punctuation:no_comma'"),
        ({"kind": "keywords:existence"}, "'keywords' is missing"),
        ({"kind": "keywords:existence", "keywords": []}, "must be a list"),
        ({"kind": "keywords:existence", "keywords": [" "]}, "not blank"),
        ({"kind": "keywords:existence", "keywords": None}, "is missing"),
        ({"kind": "punctuation:no_comma", "keywords": ["a"]}, "has no parameter 'keywords'"),
        ({"kind": "keywords:frequency", "keyword": "a", "frequency": 1, "relation": "around"}, "must be one of"),
        ({"kind": "keywords:frequency", "keyword": "a", "frequency": 1, "relation": ["at least"]}, "must be one of"),
        ({"kind": "keywords:frequency", "keyword": "a", "frequency": 1.5, "relation": "at least"}, "whole number"),
        ({"kind": "keywords:frequency", "keyword": "a", "frequency": True, "relation": "at least"}, "whole number"),
        (
            {"kind": "keywords:letter_frequency", "letter": "ab", "let_frequency": 1, "let_relation": "at least"},
            "single",
        ),
        ({"kind": "language:response_language", "language": "klingon"}, "must be one of"),
        ({"kind": "length_constraints:number_paragraphs", "num_paragraphs": -1}, "at least 1"),
        (
            {
                "kind": "length_constraints:nth_paragraph_first_word",
                "num_paragraphs": 2,
                "nth_paragraph": 3,
                "first_word": "x",
            },
            "more than num_paragraphs=2",
        ),
    ],
)
def test_what_cannot_be_checked_is_an_error_with_file_and_line(
    tmp_path: Path, constraint: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"prompt": "p", "constraints": [{"kind": "punctuation:no_comma"}]}
    path.write_text("\n".join(map(json.dumps, [good, {"prompt": "q", "constraints": [constraint]}])))
    with pytest.raises(DataError, match=message) as caught:
        create("ifeval", "if", {"path": str(path)}).load()
    assert "rows.jsonl:2" in str(caught.value)


def test_parameters_without_a_value_are_dropped_and_whole_floats_are_numbers() -> None:
    constraint = {"kind": "length_constraints:number_words", "num_words": 3.0, "relation": "at least", "keyword": None}
    expected = {"kind": "length_constraints:number_words", "num_words": 3, "relation": "at least"}
    assert checked(constraint) == expected


def test_the_reward_is_the_share_that_was_followed(file: Path) -> None:
    task, posed = problems(file)
    text = "<<Joy>>\n* one\n* two!"
    assert task.score(posed["Two"], text).reward == pytest.approx(2 / 3)
    assert task.score(posed["Two"], text).detail == "not followed: punctuation:punctuation_exclamation"
    assert task.score(posed["Two"], text.rstrip("!")).reward == 1.0
    strict, posed = problems(file, reward="all")
    assert strict.score(posed["Two"], text).reward == 0.0
    assert strict.score(posed["Two"], text.rstrip("!")).reward == 1.0


def test_only_what_follows_the_thinking_is_judged(file: Path) -> None:
    task, posed = problems(file)
    assert task.score(posed["Say"], "<think>first, second</think>So be it.").reward == 1.0
    assert task.score(posed["Say"], "<think>so be it</think>First, second.").reward == 0.0
    assert task.score(posed["Say"], "<think>so be it</think>\n").reward == 0.0


def test_an_answer_without_words_follows_nothing(file: Path) -> None:
    task, posed = problems(file)
    assert task.score(posed["Say"], "...").reward == 0.0
    assert task.score(posed["Say"], "So").reward == 1.0
    task, posed = problems(file, min_words=3)
    assert task.score(posed["Say"], "So be").reward == 0.0
    assert task.score(posed["Say"], "So be it").reward == 1.0
    with pytest.raises(ConfigError, match="min_words"):
        problems(file, min_words=0)


@pytest.mark.parametrize("name", ["ifeval.jsonl", "ifeval.parquet", "llama_nemotron_if.jsonl"])
def test_published_files_can_be_read(name: str) -> None:
    task = create("ifeval", "if", {"path": str(Path(__file__).parents[1] / "data" / "files" / name)})
    task.load()
    size = task.size()
    assert size
    for index in range(size):
        problem = task.problem(index, seed=1)
        assert problem.entry["constraints"]
        assert task.score(problem, "").reward == 0.0


def test_worked_solutions_come_from_the_file(file: Path) -> None:
    task, posed = problems(file)
    assert posed["Say"].solution == "So be it."
    assert posed["Two"].solution is None
    assert task.score(posed["Say"], posed["Say"].solution or "").reward == 1.0


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_texts_cost_little_processor_time(text: str) -> None:
    """All kinds on the end of one text. The bound is far above what is needed, so that only blow-ups fail."""
    constraints = [checked(group["constraint"]) for group in TABLE]
    shown = extract.clean(text)[-(1 << 16) :]
    began = time.process_time()
    followed(shown, constraints)
    assert time.process_time() - began < 10
