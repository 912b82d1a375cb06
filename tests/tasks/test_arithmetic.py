"""The steps of a worked solution are true, and they lead to the result."""

import re
from random import Random

import pytest

from prorl_mega.tasks import create
from prorl_mega.tasks.math.arithmetic import worked


def value(expression: str) -> int:
    """Of `12-1-8` or `37*40`."""
    if "*" in expression:
        a, b = expression.split("*")
        return int(a) * int(b)
    return sum(int(term) for term in re.findall(r"[+-]?\d+", expression))


@pytest.mark.parametrize("sign", ["+", "-", "*"])
@pytest.mark.parametrize("digits", [1, 2, 3, 9])
def test_steps_are_true_and_lead_to_the_result(sign: str, digits: int) -> None:
    random = Random(digits)
    for _ in range(200):
        a, b = random.randrange(10**digits), random.randrange(10 ** random.randint(1, digits))
        steps, result = worked([a, b], [sign])
        assert result == {"+": a + b, "-": a - b, "*": a * b}[sign]
        equations = [step.split("=") for step in steps.split(",") if "=" in step]
        assert all(value(left) == int(right) for left, right in equations)
        if sign == "*" or len(equations) == 1:
            assert int(equations[-1][1]) == result
        else:  # one digit of the result per step, the last step with its carry
            spelt = "".join(right[-1] for _, right in equations[:-1])[::-1]
            assert int(equations[-1][1] + spelt) == abs(result)


@pytest.mark.parametrize(
    ("numbers", "signs", "expected"),
    [
        ([37, 45], "+", ("7+5=12,1+3+4=8", 82)),
        ([52, 8], "-", ("12-8=4,5-1-0=4", 44)),
        ([8, 52], "-", ("8<52,12-8=4,5-1-0=4", -44)),
        ([37, 45], "*", ("37*5=185,37*40=1480,185+1480=1665", 1665)),
        ([3, 4, 2], "+*", ("4*2=8,3+8=11", 11)),
        ([7, 0], "*", ("7*0=0", 0)),
    ],
)
def test_examples(numbers: list[int], signs: str, expected: tuple[str, int]) -> None:
    assert worked(numbers, list(signs)) == expected


def test_settings_shape_the_problems() -> None:
    task = create("arithmetic", "x", {"operations": ["-"], "negative": False, "min_digits": 2, "max_digits": 3})
    for index in range(200):
        problem = task.problem(index, seed=1)
        first, second = map(int, problem.entry["expression"].split(" - "))
        assert 10 <= second <= first <= 999
        assert int(problem.entry["answer"]) >= 0
