"""The table of mathematical answers: nothing wrong is accepted, and what is refused though it is right is listed."""

import re

import pytest
from helpers.answer_tables import Row, read_table, shown

from prorl_mega.tasks.answers.equivalence import complaint, equivalent
from prorl_mega.tasks.answers.plain import agrees

TABLE = read_table("math.tsv")
UNIT = re.compile(r"\\text|\\\$|[€£%]|\b(?:dollars?|euros?|cents?)\b")


def test_the_table_is_large_and_has_both_signs() -> None:
    assert len(TABLE) >= 400
    assert min(sum(row.sign == sign for row in TABLE) for sign in "+-") >= 200
    assert len({(row.reference, row.answer) for row in TABLE}) == len(TABLE)
    assert all(complaint(row.reference) is None for row in TABLE)


def test_nothing_wrong_is_accepted() -> None:
    assert shown([row for row in TABLE if row.sign == "-" and equivalent(row.reference, row.answer)]) == []


def test_what_is_right_is_accepted() -> None:
    assert shown([row for row in TABLE if row.sign == "+" and not equivalent(row.reference, row.answer)]) == []


def test_what_is_right_and_refused_is_exactly_what_is_listed() -> None:
    """An improvement shows here: then the row gets a plus."""
    assert shown([row for row in TABLE if row.sign == "~" and equivalent(row.reference, row.answer)]) == []


def test_the_second_verifier_accepts_nothing_wrong() -> None:
    assert shown([row for row in TABLE if row.sign == "-" and agrees(row.reference, row.answer)]) == []


def test_the_second_verifier_recognises_much_of_what_is_right() -> None:
    right = [row for row in TABLE if row.sign == "+"]
    assert sum(agrees(row.reference, row.answer) for row in right) >= 0.25 * len(right)


def test_every_reference_is_its_own_answer() -> None:
    references = sorted({row.reference for row in TABLE})
    assert [each for each in references if not equivalent(each, each)] == []
    assert [each for each in references if not equivalent(each, f" ${each}$. ")] == []


@pytest.mark.parametrize("row", TABLE[::97], ids=lambda row: f"{row.reference} {row.answer}")
def test_the_verdict_is_always_the_same(row: Row) -> None:
    assert len({equivalent(row.reference, row.answer) for _ in range(20)}) == 1


def test_answers_to_another_reference_are_wrong() -> None:
    """Unless the references are each other's answer. With units left out, 5 is as good for 5 cm as for 5 m."""
    references = sorted({row.reference for row in TABLE if not UNIT.search(row.reference)})
    right = [row for row in TABLE if row.sign == "+" and not UNIT.search(row.reference + row.answer)]
    pairs = [(reference, row) for reference in references for row in right if row.reference != reference]
    wrong = [
        f"{reference}   {row.answer}   (of {row.reference})"
        for reference, row in pairs[::11]
        if (equivalent(reference, row.answer) or agrees(reference, row.answer))
        and not equivalent(reference, row.reference)
        and not equivalent(row.reference, reference)
    ]
    assert wrong == []
