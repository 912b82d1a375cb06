"""Canonical answers: equal answers share them, so that they can vote, and different answers do not."""

from __future__ import annotations

import pytest
from helpers.answer_tables import Row, read_table

from prorl_mega.tasks import create
from prorl_mega.tasks.answers import canonical
from prorl_mega.types import Problem
from prorl_mega.verifiers.contract import HOSTILE, LONG

STEM = create("stem", "stem", {"path": "none.jsonl"})
NAMES_AND_DIGITS = {
    "units and currency",  # x + y = 5 answers 5
    "intervals and conditions",  # of x or of y
    "equations",
    "what is applied is not multiplied",
    "names of what is measured, set builders, arrays, fonts, sets without backslashes",
    "roots and powers",  # equal to all digits but the last of many
    "pi, e, logarithms, trigonometry",
    "equal everywhere, and to all digits",
    "more formulas of both signs",  # by 10^-70, or in few regions
    "rounding of roots, logarithms and circular functions",  # at few numbers
}
"""The headings of the table under which answers differ by a name or beyond the digits, as `canonical.py` says."""


@pytest.mark.parametrize(
    "same",
    [
        ["1/2", "0.5", r"\frac12", r"\frac{3}{6}", "x = 0.5", "$0.50$"],
        [r"\sqrt{2}", r"\frac{2}{\sqrt2}"],
        ["x^2+2x+1", "(x+1)^2", "1 + x(x+2)"],
        ["1, 2", "2, 1", r"\{2, 1\}"],
        [r"\pm 3", "3, -3"],
        ["(1,2)", r"\left(1, 2\right)"],
        ["5 cm", "50 mm", r"0.05\text{ m}"],
        ["12", "12 apples", r"12^\circ", "\\$12", "12 dollars"],
        ["x > 3", r"(3, \infty)"],
        ["Tuesday", r"\text{tuesday}"],
        [r"\begin{pmatrix}1\\2\end{pmatrix}", "(1, 2)"],
    ],
    ids=lambda same: same[0],
)
def test_one_answer_in_several_spellings(same: list[str]) -> None:
    assert len({canonical.mathematical([each]) for each in same}) == 1, [
        canonical.mathematical([each]) for each in same
    ]


def test_different_answers() -> None:
    texts = ["1", "2", "-1", "(1,2)", "(2,1)", "1, 2", "[1,2]", "5 cm", "5 m", "5", "5 euros", "5 cents", "x^2", "x^3",
             "x^2+1", "|x|", "x", r"\frac{1}{x}", r"\sqrt{2}", "1.41421356", "yes", "no", r"50\%", "50", "37+45", "82",
             r"2\sqrt{2}\text{ m}", r"2\sqrt{2}\text{ cm}", "10^{500}", "10^{501}", "", "unreadable }"]  # fmt: skip
    names = [canonical.mathematical([each]) for each in texts]
    assert len(set(names)) == len(texts)
    assert all(len(name) <= canonical.MAX_NAME for name in names)


@pytest.mark.parametrize("text", [*HOSTILE, LONG[:4096], "9^{9^{9^x}}" * 40, "|" * 500, "x!" * 200])
def test_whatever_was_answered_gets_a_short_name(text: str) -> None:
    for boxed in (text, rf"\boxed{{{text}}}"):
        assert len(canonical.mathematical([boxed])) <= canonical.MAX_NAME
        problem = Problem(key="stem/0", task="stem", prompt="p", entry={"answer": "5", "tolerance": 0.0})
        assert len(STEM.canonical(problem, boxed)) <= canonical.MAX_NAME


def joined(rows: list[Row], sign: str) -> tuple[list[Row], int]:
    """The rows of a sign whose answer has the canonical form of the reference, and how many have that sign."""
    found = [row for row in rows if row.sign == sign]
    return [row for row in found if name(row.reference, row) == name(row.answer, row)], len(found)


def name(text: str, row: Row) -> str:
    problem = Problem(key="stem/0", task="stem", prompt="p", entry={"answer": row.reference, "tolerance": 0.0})
    if row in SCIENCE:
        return STEM.canonical(problem, rf"\boxed{{{text.partition(' :: ')[0]}}}")
    return canonical.mathematical([text])


MATHEMATICS = read_table("math.tsv")
SCIENCE = [row for row in read_table("stem.tsv") if row.reference.count("::") < 2]  # no options


def test_the_tables_of_right_and_wrong_answers() -> None:
    """Nothing but names and digits joins wrong answers with their reference; most right ones are joined."""
    same, right = joined(MATHEMATICS, "+")
    assert len(same) > 0.84 * right
    wrong, _ = joined(MATHEMATICS, "-")
    assert {row.rule for row in wrong} <= NAMES_AND_DIGITS, wrong
    assert len(wrong) <= 30
    same, right = joined(SCIENCE, "+")
    assert len(same) > 0.7 * right
    wrong, _ = joined(SCIENCE, "-")
    assert len(wrong) <= 3, wrong
