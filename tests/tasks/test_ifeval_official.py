"""The published checker's verdicts in a frozen table (`benchmarks/ifeval_agreement.py --freeze`), and the task."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import create
from prorl_mega.tasks.instruction import punkt
from prorl_mega.tasks.instruction.check_registry import checked
from prorl_mega.tasks.instruction.official_checks import OFFICIAL_CHECKS, followed, readings
from prorl_mega.types import Problem

TABLE = Path(__file__).parent / "tables" / "ifeval_published.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]

SENTENCES = [  # as NLTK 3.9.1 counts them, one for each rule
    ("Gray Corp. International sold it.", 1),
    ("Hill Inc. However, it closed.", 2),
    ("the Gray Corp. The end", 2),
    ("J. Xylo sang.", 1),
    ("J. However, he sang.", 2),
    ("It is no. 3. it rained", 2),
    ("It ended in 3. They left", 2),
    ("Wait... what?", 1),
    ("Wait... However, it rained.", 2),
    ("Wait... They left.", 2),
    ("the semi-corp. left", 1),
    ("It is 3. xylo left", 1),
    ('He left. "', 1),
    ('He said "go." Then he left.', 2),
    ("(It was late.) Nobody spoke.", 2),
    ("Go.--Now.", 1),
    ("Is it?Yes", 1),
    ('Is it?"Yes', 2),
    ("a . b", 2),
    ("One.Two.Three.", 1),
    ("Very bad!!! I left.", 2),
    ("e.g. the map", 2),
    ("Plan B. then we left", 1),
    ("rain.\u00a0Then sun.", 2),
    ("One.\n\nTwo\n\nThree.", 2),
]


def verdicts(constraint: dict[str, Any], answer: str) -> list[bool]:
    given = checked(constraint, OFFICIAL_CHECKS)
    return [followed(readings(answer, loose=loose), given) for loose in (False, True)]


def problem(tmp_path: Path, *constraints: dict[str, Any], **options: Any) -> tuple[Any, Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "p", "constraints": constraints}))
    task = create("ifeval", "if", {"path": str(path), **options})
    task.load()
    return task, task.problem(0, seed=1)


def test_the_table_has_both_verdicts_of_all_25_kinds() -> None:
    assert len(ROWS) >= 900
    for kind in OFFICIAL_CHECKS:
        rows = [row for row in ROWS if row["constraint"]["kind"] == kind]
        assert len(rows) >= 30, kind
        assert {row["strict"] for row in rows} == {row["loose"] for row in rows} == {True, False}, kind
    assert len(OFFICIAL_CHECKS) == 25


def test_the_verdicts_are_those_of_the_published_checker() -> None:
    wrong = [row for row in ROWS if verdicts(row["constraint"], row["answer"]) != [row["strict"], row["loose"]]]
    assert wrong == []


@pytest.mark.parametrize(("text", "count"), SENTENCES)
def test_sentences_are_counted_as_the_published_checker_does(text: str, count: int) -> None:
    assert len(punkt.sentences(text)) == count


def test_the_reward_is_the_verdict_about_the_prompt(tmp_path: Path) -> None:
    constraints = [{"kind": "punctuation:no_comma"}, {"kind": "startend:quotation"}]
    task, posed = problem(tmp_path, *constraints, checker="official_strict")
    assert task.score(posed, '"So be it."').reward == 1.0
    assert task.score(posed, "So be it.").reward == 0.0
    assert task.score(posed, "So be it.").detail == "not followed: startend:quotation"
    assert task.score(posed, " \n").reward == 0.0
    task, posed = problem(tmp_path, *constraints, checker="official_strict", reward="fraction")
    assert task.score(posed, "So be it.").reward == 0.5


def test_loosely_the_first_and_the_last_line_may_be_wrong(tmp_path: Path) -> None:
    answer = "Sure, here you are:\n**So be it.**"
    task, posed = problem(tmp_path, {"kind": "punctuation:no_comma"}, checker="official_strict")
    assert task.score(posed, answer).reward == 0.0
    task, posed = problem(tmp_path, {"kind": "punctuation:no_comma"}, checker="official_loose")
    assert task.score(posed, answer).reward == 1.0


def test_the_answer_is_what_follows_the_thinking_to_the_letter(tmp_path: Path) -> None:
    task, posed = problem(tmp_path, {"kind": "punctuation:no_comma"}, checker="official_strict")
    assert task.score(posed, "<think>one, two</think>\n\nthree").reward == 1.0
    assert task.score(posed, "<think>one</think>two, three").reward == 0.0
    assert task.score(posed, "<think>one").reward == 0.0
    task, posed = problem(tmp_path, {"kind": "punctuation:no_comma"}, checker="official_loose")
    assert task.score(posed, "<think>a</think>\n\none, two\nthree").reward == 1.0  # the first line has the comma
    assert task.score(posed, "\n\none, two").reward == 0.0


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"kind": "keywords:existence", "keywords": ["a", ":("]}, "is no regular expression .* use `checker: ours`"),
        ({"kind": "keywords:word_once", "keyword": "a"}, "published checker has no instruction 'keywords:word_once'"),
        ({"kind": "length_constraints:number_words", "num_words": 3, "relation": "at most"}, "at least, less than"),
        ({"kind": "length_constraints:number_words", "num_words": 0, "relation": "at least"}, "num_words=0 is drawn"),
        ({"kind": "detectable_format:number_bullet_lists", "num_bullets": 0}, "num_bullets=0 is drawn at random"),
        ({"kind": "language:response_language", "language": "zh"}, "must be one of: ar, bg"),
        ({"kind": "keywords:forbidden_words", "forbidden_words": ["(?i)x"]}, "flags not at the start"),
        ({"kind": "keywords:existence", "keywords": ["a{99999999999}"]}, "is no regular expression"),
        ({"kind": "detectable_content:postscript", "postscript_marker": "(?P<a>x)"}, "is no regular expression"),
    ],
)  # fmt: skip
def test_rows_without_a_published_verdict_are_broken(tmp_path: Path, constraint: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        problem(tmp_path, constraint, checker="official_strict")
    problem(tmp_path, constraint)


def test_options_that_contradict_the_published_checker_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="min_words: the published checker has no such bound"):
        problem(tmp_path, {"kind": "punctuation:no_comma"}, checker="official_loose", min_words=2)


def test_where_the_published_checker_has_no_verdict_ours_is_fixed() -> None:
    hashes = {"kind": "keywords:letter_frequency", "letter": "#", "let_frequency": 2, "let_relation": "at least"}
    assert verdicts(hashes, "#a #b") == [True, True]
    assert verdicts(hashes, "#a b") == [False, False]
    assert verdicts({"kind": "detectable_format:json_format"}, "[" * 100_000) == [False, False]
    german = {"kind": "language:response_language", "language": "de"}
    mixed = "Der Hund schläft. The dog sleeps. Le chien dort."
    assert len({tuple(verdicts(german, mixed)) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 50_000 + "*", "[" * 50_000, "<<" * 25_000, ". " * 25_000, "*" * 50_000, "a'." * 15_000, '."' * 25_000,
        " " * 50_000 + "p", "\ud800" * 1000,
    ],
    ids=lambda text: repr(text[:3]),
)  # fmt: skip
def test_hostile_texts_cost_little_processor_time(text: str) -> None:
    """The bound is far above what is needed, so that only blow-ups fail."""
    constraints = {row["constraint"]["kind"]: row["constraint"] for row in ROWS}
    began = time.process_time()
    for constraint in constraints.values():
        verdicts(constraint, text)
    assert time.process_time() - began < 10
