"""Formulas that are made at random: what is accepted has to be equal, to an oracle that never reads a formula.

`python benchmarks/fuzz_answers.py` does the same for as long as one likes.
"""

from __future__ import annotations

from random import Random

import pytest
from helpers.random_formulas import formula, wrongly_accepted

from prorl_mega.tasks.answers.equivalence import equivalent

COUNT = 100


@pytest.mark.parametrize("seed", range(3))
def test_what_is_accepted_is_equal(seed: int) -> None:
    random = Random(seed)
    assert [found for _ in range(COUNT) if (found := wrongly_accepted(random))] == []


def test_equal_formulas_are_mostly_accepted() -> None:
    random, accepted = Random(9), 0
    for _ in range(100):
        a = formula(random)
        accepted += equivalent(a.text, f"-(-({a.text}))")
    assert accepted >= 80, "an oracle that refuses nothing would prove nothing"


def test_the_oracle_does_not_round_what_is_short_of_one() -> None:
    """The ceiling of tanh is 0 or 1, however far below zero its argument is."""
    assert wrongly_accepted(Random(439655)) is None


@pytest.mark.parametrize("number", [12531, 783015641, 4110851, 1923838, 3723256972381, 36394179, 810843])
def test_pairs_that_were_accepted_once(number: int) -> None:
    """Found by fuzzing: signs that change in few regions, a step that few points reach."""
    assert wrongly_accepted(Random(number)) is None
