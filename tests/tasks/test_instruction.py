"""Every kind of constraint, both signs."""

from typing import Any

import pytest

from prorl_mega.tasks import create
from prorl_mega.tasks.instruction.check_registry import followed
from prorl_mega.tasks.instruction.generated_checks import GENERATED_CHECKS

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "words", "count": 3}, ["a b c", "It's two-fold"], ["a b", "a b c d", "..."]),
    ({"kind": "min_words", "count": 2}, ["a b", "a b c"], ["a", "-- --"]),
    ({"kind": "max_words", "count": 2}, ["a b", "a"], ["a b c"]),
    ({"kind": "include_word", "word": "cat"}, ["a Cat sat", "cat."], ["cats", "concatenate"]),
    ({"kind": "forbid_word", "word": "cat"}, ["cats", "dog"], ["the cat", "CAT!"]),
    ({"kind": "repeat_word", "word": "cat", "count": 2}, ["cat a cat"], ["cat", "cat cat cat", "catcat"]),
    ({"kind": "only_repeat", "word": "cat", "count": 2}, ["cat cat", "Cat, cat"], ["cat cat dog", "cat"]),
    ({"kind": "include_letter", "letter": "e", "count": 2}, ["Eel", "here"], ["end", "x"]),
    ({"kind": "forbid_letter", "letter": "e"}, ["cat"], ["End", "the"]),
    ({"kind": "start_word", "word": "cat"}, ["Cat sat", '"cat"'], ["a cat", "cats"]),
    ({"kind": "end_word", "word": "cat"}, ["a cat.", "cat"], ["cat a", "a cats"]),
    ({"kind": "uppercase"}, ["A B", "A1!"], ["Ab", "12"]),
    ({"kind": "lowercase"}, ["a b"], ["aB", "12"]),
    ({"kind": "bullets", "count": 2}, ["* a\n* b", "- a\n- b"], ["* a", "* a\n* b\n* c", "x\n* a\n* b", "*a\n*b"]),
    ({"kind": "quotes"}, ['"a b"'], ['"a', 'a "b"', '"a" "b"', '""', '" "']),
    ({"kind": "json", "word": "cat"}, ['{"cat": 1}'], ['{"dog": 1}', "{cat: 1}", '{"cat": 1, "b": 2}', "[" * 9000]),
    ({"kind": "no_commas"}, ["a b"], ["a, b"]),
]


def test_the_table_covers_every_kind() -> None:
    assert {constraint["kind"] for constraint, _, _ in CASES} == set(GENERATED_CHECKS)


@pytest.mark.parametrize(("constraint", "good", "bad"), CASES)
def test_kinds(constraint: dict[str, Any], good: list[str], bad: list[str]) -> None:
    assert [followed(text, [constraint]) for text in good] == [[True]] * len(good)
    assert [followed(text, [constraint]) for text in [*bad, "", " \n"]] == [[False]] * (len(bad) + 2)
    assert GENERATED_CHECKS[constraint["kind"]].full.format(**constraint)
    assert len(GENERATED_CHECKS[constraint["kind"]].short.format(**constraint)) < 30


@pytest.mark.parametrize("kind", list(GENERATED_CHECKS))
def test_every_kind_alone_can_be_followed(kind: str) -> None:
    task = create("instruction", "x", {"kinds": [kind], "max_constraints": 1})
    for index in range(20):
        problem = task.problem(index, seed=1)
        assert problem.solution is not None
        assert task.score(problem, problem.solution).reward == 1.0


def test_kinds_that_exclude_each_other_are_not_combined() -> None:
    task = create("instruction", "x", {"kinds": ["uppercase", "lowercase"], "min_constraints": 2, "max_constraints": 2})
    problem = task.problem(0, seed=1)
    assert problem.solution is not None
    assert task.score(problem, problem.solution).reward == 1.0
