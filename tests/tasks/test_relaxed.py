"""Format-relaxed grading: what a benevolent reader takes for an answer, in all five domains, and what nobody may."""

from __future__ import annotations

import pytest
from helpers.loose_answers import ROWS, SIGNS, TABLE, loose_answers, tasks

from prorl_mega.grader import Grader
from prorl_mega.run.sample_store import StoredVerdict
from prorl_mega.tasks import create, relaxed
from prorl_mega.tasks.code import loose_programs
from prorl_mega.tasks.extract import MAX_TEXT, Form
from prorl_mega.tasks.instruction import wrapping
from prorl_mega.tasks.relaxed import Sought
from prorl_mega.types import Problem
from prorl_mega.verifiers.pool import VerifierPool

HOSTILE = ["<answer>" * 30_000, "answer is " * 26_000, "```\n" * 60_000, "$" * 200_000, "\\boxed{ " * 30_000,
           "Answer:" + " " * 200_000, "\\boxed{" + " " * 200_000 + "x", "**" * 100_000, "1 " * 100_000,
           "<answer>" + "x" * 200_000, "#### " * 50_000, "(" * 100_000, "def f(" * 40_000, "\n" * 200_000]  # fmt: skip


@pytest.fixture(scope="module")
def graded() -> dict[str, list[tuple[str, StoredVerdict]]]:
    """The verdicts on all rows, with the texts, by sign."""
    rows = loose_answers()
    written: list[StoredVerdict] = []
    with VerifierPool(tasks()) as pool, pool.batch() as batch:
        grader = Grader(batch, [row.problem for row in rows], written.extend)
        for number, row in enumerate(rows):
            grader.add(number, 0, row.text)
        assert grader.wait(300)
    found: dict[str, list[tuple[str, StoredVerdict]]] = {sign: [] for sign in SIGNS}
    for verdict in sorted(written, key=lambda each: each.problem):
        row = rows[verdict.problem]
        found[row.sign].append((f"{row.problem.task}: {row.text!r}", verdict))
    return found


def test_the_table_has_enough_rows_of_every_domain() -> None:
    for sign in SIGNS:
        assert sum(len(group.get(sign, ())) for group in TABLE) >= (15 if sign == "formed" else 40)
        assert {group["task"] for group in TABLE if group.get(sign)} >= {"math", "stem", "logic", "code", "instruction"}


def test_what_is_right_in_another_form_earns_the_relaxed_reward_alone(
    graded: dict[str, list[tuple[str, StoredVerdict]]],
) -> None:
    wrong = [text for text, each in graded["right"] if each.relaxed != 1.0]
    assert not wrong, "\n".join(wrong)
    strict = [text for text, each in graded["right"] if each.reward is None or each.reward >= 1]
    assert not strict, "\n".join(strict)


def test_no_reading_makes_a_wrong_answer_right(graded: dict[str, list[tuple[str, StoredVerdict]]]) -> None:
    wrong = [f"{text} {each}" for text, each in graded["wrong"] if each.reward is None or (each.relaxed or 0.0) >= 1]
    assert not wrong, "\n".join(wrong)


def test_an_answer_in_the_wanted_form_is_not_read_again(graded: dict[str, list[tuple[str, StoredVerdict]]]) -> None:
    wrong = [text for text, each in graded["formed"] if each.relaxed is not None or each.reward in (None, 1.0)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_readings_are_few_whatever_the_text(text: str) -> None:
    text = text[:MAX_TEXT]
    for form in Form:
        for sought in Sought:
            assert len(relaxed.short_answers(text, form, sought)) <= relaxed.MAX_READINGS
            assert len(relaxed.within(text, form, sought)) <= relaxed.MAX_READINGS
    assert len(wrapping.unwrapped(text)) <= wrapping.LAYERS
    for language in ("python", "cpp"):
        assert len(loose_programs.programs(text, language)) <= loose_programs.MAX_PROGRAMS


def test_tasks_name_answers_so_that_equal_ones_are_equal() -> None:
    math = create("math", "math", ROWS)
    entry = {"answer": "1/2", "verifier": "math"}
    problem = Problem(key="math/0", task="math", prompt="p", entry=entry)
    same = [r"\boxed{0.5}", r"\boxed{\frac12}", r"so $x = \boxed{\frac{3}{6}}$", r"\boxed{x = 1/2}"]
    assert {math.canonical(problem, text) for text in same} == {"1/2"}
    assert math.canonical(problem, "0.5") == ""
    stem = create("stem", "stem", ROWS)
    options = Problem(key="stem/0", task="stem", prompt="p", entry={"answer": "B", "options": ["helium", "oxygen"]})
    assert {stem.canonical(options, text) for text in (r"\boxed{B}", r"\boxed{oxygen}", r"\boxed{(B) oxygen}")} == {"B"}
    assert stem.canonical(options, r"\boxed{iron}") == ""
    logic = create("logic", "logic", ROWS)
    for group in TABLE:
        if group["task"] == "logic" and group["entry"]["entry"]["answer"] == "7":
            puzzle = Problem(key="logic/0", task="logic", prompt="p", entry=group["entry"])
            texts = [f"<answer>{each}</answer>" for each in ("7", "7.0", "**7**", " 7 ")]
            assert {logic.canonical(puzzle, text) for text in texts} == {"7"}
    assert create("instruction", "instruction", {}).canonical(problem, "42") == ""
