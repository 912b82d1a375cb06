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
    return Problem(key="p/1", task="p", prompt=f"{operations}{letters}\n", entry={"answer": answer})


def split(prompt: str) -> tuple[str, str]:
    """Operations and letters."""
    return prompt.strip()[:-4], prompt.strip()[-4:]


def test_operations_one_by_one() -> None:
    results = {name: operation("ahcd") for name, operation in module.OPERATIONS.items()}
    assert results == {
        "R": "dcha", "L": "hcda", "S": "dhca", "H": "cdah", "U": "bade", "F": "bhcd", "E": "ahce", "D": "aacd"
    }  # fmt: skip
    assert module.worked("RLU", "abcd") == ["Rdcba", "Lcbad", "Udcbe"]


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
        ("Rdcba\nLcbad", 1.0, True),
        ("Lcbad", 1.0, True),  # the way does not matter
        ("Raaaa\nLcbad\n", 1.0, True),
        ("Lcbad\nRdcba", 0.0, True),
        ("cbad", 0.0, False),
        ("Lcbad.", 0.0, False),
        ("Lcbadd", 0.0, False),
        ("lcbad", 0.0, False),
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


def test_what_the_base_reads_has_no_second_result() -> None:
    task = create("beginning", "begun", {"most": 6, "goes_on": 0.3})
    texts = [task.problem(index, seed=1) for index in range(400)]
    ends = 0
    for each in texts:
        operations, letters = split(each.prompt)
        assert 2 <= len(operations) <= 6
        first, *rest = str(each.solution).split("\n")
        assert first == operations[0] + module.chain(operations[0], letters)[0]
        assert rest == ([] if each.solution_ends else [operations[1]])
        ends += each.solution_ends
    assert 0.6 < ends / len(texts) < 0.8


def test_a_step_is_one_operation_on_letters_that_are_no_result_of_the_line_before() -> None:
    task = create("step", "steps", {})
    for index in range(100):
        made = task.problem(index, seed=1)
        line, operation = made.prompt.split("\n")
        assert line[0] != operation
        assert made.solution is not None
        assert made.solution == module.OPERATIONS[operation](line[1:])
        assert made.solution_ends
        assert task.score(made, made.solution).reward == 1.0
        assert task.score(made, f"{made.solution}\nRabcd").reward == task.score(made, "").reward == 0.0


def test_a_solved_problem_above_is_another_one_of_one_operation() -> None:
    task = create("composition", "some", {"depth": 1, "solved": 0.5})
    prompts = [task.problem(index, seed=1).prompt.splitlines() for index in range(200)]
    above = [lines for lines in prompts if len(lines) > 1]
    assert 70 < len(above) < 130
    for asked, line, own in above:
        operation, letters = split(asked)
        assert [line] == module.worked(operation, letters)
        assert len(split(own)[0]) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("composition", {"depth": 9}, "depth: must be from 1 to 8, not 9"),
        ("composition", {"solved": -1.0}, "solved: must be from 0 to 1, not -1.0"),
        ("beginning", {"most": 1}, "most: must be from 2 to 8, not 1"),
        ("beginning", {"goes_on": 2.0}, "goes_on: must be from 0 to 1, not 2.0"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(name, "some", options)
