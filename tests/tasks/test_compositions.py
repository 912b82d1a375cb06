"""The tasks of the boundary's study: what is in their problems, and what is not."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.errors import ConfigError
from prorl_mega.plugins import load_module
from prorl_mega.tasks import create
from prorl_mega.types import Problem

FILE = Path(__file__).parents[2] / "examples" / "compositions.py"
module: Any = load_module(str(FILE), key="tasks.modules")


def problem(operations: str, letters: str) -> Problem:
    answer = module.chain(operations, letters)[-1]
    return Problem(key="p/1", task="p", prompt=module.statement(operations, letters, 0), entry={"answer": answer})


def split(prompt: str) -> tuple[str, str]:
    """Operations and letters."""
    operations, _, letters = prompt.strip().partition(".")
    return operations, letters.lstrip(".")


def test_operations_one_by_one() -> None:
    results = {name: operation("ahcd") for name, operation in module.OPERATIONS.items()}
    assert results == {
        "R": "dcha", "L": "hcda", "S": "dhca", "H": "cdah", "U": "bade", "F": "bhcd", "E": "ahce", "D": "aacd"
    }  # fmt: skip
    assert module.worked("RLU", "abcd") == ["Rdcba", "Lcbad", "Udcbe"]
    assert module.statement("RLU", "abcd", 0) == "RLU.abcd\n"
    assert module.statement("RLU", "abcd", 9) == "RLU......abcd\n"


@pytest.mark.parametrize("depth", [1, 2, 4, 6])
def test_no_operation_of_a_problem_can_be_left_out(depth: int) -> None:
    task = create("composition", "some", {"depth": depth})
    for index in range(60):
        made = task.problem(index, seed=3)
        operations, letters = split(made.prompt)
        assert len(set(operations)) == len(operations) == depth
        states = [letters, *module.chain(operations, letters)]
        assert made.entry["answer"] == states[-1]
        for count in range(depth):
            for some in combinations(operations, count):
                assert [letters, *module.chain("".join(some), letters)][-1] != states[-1]
        assert made.solution is not None
        assert task.score(made, made.solution).reward == 1.0


def test_the_last_line_alone_is_judged() -> None:
    task, asked = create("composition", "some", {}), problem("RL", "abcd")
    for answer, reward, found in (
        ("Rdcba\nLcbad\n.", 1.0, True),
        ("Lcbad\n.", 1.0, True),  # the way does not matter
        ("Raaaa\nLcbad\n.\n", 1.0, True),
        ("Lcbad\nRdcba\n.", 0.0, True),
        ("Rdcba\nLcbad", 0.0, False),  # it may go on
        ("Rdcba\nLcbad\n.\n.", 0.0, False),
        ("cbad\n.", 0.0, False),
        ("Lcbad.", 0.0, False),
        ("Lcbadd\n.", 0.0, False),
        ("lcbad\n.", 0.0, False),
        (".", 0.0, False),
        ("", 0.0, False),
    ):
        verdict = task.score(asked, answer)
        assert (verdict.reward, verdict.found) == (reward, found), answer


def test_four_letters_anywhere_count_where_the_form_does_not() -> None:
    task, asked = create("composition", "some", {}), problem("RL", "abcd")

    def best(answer: str) -> float:
        return max((task.score(asked, each).reward for each in task.readings(asked, answer)), default=0.0)

    assert best("cbad") == best("Rdcba\nLcbad?") == best("first cbad, then R") == 1.0
    assert best("Rdcba") == best("cbada") == best("cba d") == 0.0


def texts(name: str, count: int = 300) -> list[tuple[Problem, list[str]]]:
    """Problems, and the lines of prompt and worked solution together."""
    task = create(name, "texts", {})
    problems = [task.problem(index, seed=1) for index in range(count)]
    for each in problems:
        assert task.score(each, f"{each.solution}\nRabcd").reward == 1.0  # what comes after it is not judged
        assert task.score(each, "").reward == task.score(each, f" {each.solution}").reward == 0.0
    return [(each, f"{each.prompt}{each.solution}".split("\n")) for each in problems]


def test_a_beginning_has_the_first_line_and_may_name_the_second_operation() -> None:
    goes_on = 0
    for made, (asked, first, *rest) in texts("beginning"):
        operations, letters = split(asked)
        assert 2 <= len(operations) <= 7
        assert [first] == module.worked(operations[0], letters)
        assert rest in ([], [operations[1]])
        assert not made.solution_ends
        goes_on += bool(rest)
    assert 120 < goes_on < 180


def test_what_comes_next_follows_lines_that_are_no_results() -> None:
    ends = results = lines = 0
    for made, (asked, *above, follows) in texts("next"):
        operations, letters = split(asked)
        assert "".join(line[0] for line in above) + follows == f"{operations}."[: len(above) + 1]
        assert made.solution_ends == (follows == ".")
        ends += made.solution_ends
        lines += len(above)
        results += sum(given == right for given, right in zip(above, module.worked(operations, letters), strict=False))
    assert 60 < ends < 180
    assert results <= lines / 100  # of random letters one in 4,096 is


def test_a_step_is_one_operation_on_random_letters() -> None:
    results = 0
    for made, (asked, above, line) in texts("step"):
        operations, letters = split(asked)
        assert above[0] + line[0] in operations
        assert line[1:] == made.solution == module.OPERATIONS[line[0]](above[1:])
        assert not made.solution_ends
        before = module.chain(operations[: operations.index(line[0])], letters)[-1]
        results += above[1:] == before
    assert results <= 3


@pytest.mark.parametrize("name", ["composition", "beginning", "next", "step"])
def test_width_changes_nothing_else(name: str) -> None:
    plain, wide = (create(name, "texts", options) for options in ({}, {"width": 9}))
    for index in range(40):
        short, long = plain.problem(index, seed=1), wide.problem(index, seed=1)
        stated, rest = long.prompt[:9], long.prompt[9:]
        assert short.prompt == stated.rstrip(".") + "." + rest
        assert (short.entry, short.solution) == (long.entry, long.solution)


@pytest.mark.parametrize("name", ["beginning", "next", "step"])
def test_parts_may_be_of_long_problems_alone(name: str) -> None:
    task = create(name, "texts", {"least": 6})
    lengths = {len(split(task.problem(index, seed=1).prompt.split("\n")[0])[0]) for index in range(40)}
    assert lengths == {6, 7}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("composition", {"depth": 9}, "depth: must be from 1 to 8, not 9"),
        ("composition", {"width": 10}, "width: must be from 0 to 9, not 10"),
        ("beginning", {"most": 1}, "most: must be from 2 to 8, not 1"),
        ("next", {"most": 9}, "most: must be from 2 to 8, not 9"),
        ("step", {"least": 8}, "least: must be from 1 to most=7, not 8"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(name, "some", options)
