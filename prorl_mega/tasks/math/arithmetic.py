"""Calculations with whole numbers, worked digit by digit. Answers are checked by the rules of `answers`.

The worked solutions show every carry, so that a character-level model can learn the procedure:
`37+45=` is solved as `7+5=12,1+3+4=8` and then `82`.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct, field

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks import extract, relaxed
from prorl_mega.tasks.answers import canonical, equivalence
from prorl_mega.tasks.registry import Style, Task, register
from prorl_mega.types import Problem, Verdict


class Operation(Enum):
    add = "+"
    subtract = "-"
    multiply = "*"


Digits = Annotated[int, Meta(ge=1, le=18)]
Terms = Annotated[int, Meta(ge=2, le=16)]


class ArithmeticOptions(Struct, kw_only=True):
    """Difficulty is set by digits per number, numbers per expression and the operations."""

    operations: Annotated[list[Operation], Meta(min_length=1)] = field(
        default_factory=lambda: [Operation.add, Operation.subtract]
    )
    min_digits: Digits = 1
    max_digits: Digits = 3
    min_terms: Terms = 2
    max_terms: Terms = 2
    negative: bool = True  # whether results below zero may occur
    style: Style = Style.full
    answer: extract.Form = extract.Form.boxed

    def __post_init__(self) -> None:
        if self.min_digits > self.max_digits:
            raise ValueError(f"min_digits: must be at most max_digits={self.max_digits}, not {self.min_digits}")
        if self.min_terms > self.max_terms:
            raise ValueError(f"min_terms: must be at most max_terms={self.max_terms}, not {self.min_terms}")
        if not self.negative and self.max_terms > 2 and set(self.operations) == {Operation.subtract}:
            raise ValueError("negative: differences of more than two numbers are mostly below zero; set it to true")


@register("arithmetic")
class Arithmetic(Task):
    """Sums, differences, products and expressions of them (products before sums)."""

    domain = Domain.math
    options_type = ArithmeticOptions
    options: ArithmeticOptions

    def problem(self, index: int, seed: int) -> Problem:
        options, random = self.options, self.generator(index, seed)
        while True:
            numbers = []
            for _ in range(random.randint(options.min_terms, options.max_terms)):
                digits = random.randint(options.min_digits, options.max_digits)
                numbers.append(random.randrange(0 if digits == 1 else 10 ** (digits - 1), 10**digits))
            signs = [random.choice(options.operations).value for _ in numbers[1:]]
            if not options.negative and len(numbers) == 2 and signs[0] == "-":
                numbers.sort(reverse=True)
            steps, result = worked(numbers, signs)
            if options.negative or result >= 0:
                break
        separator = "" if options.style is Style.short else " "
        expression = str(numbers[0]) + "".join(
            f"{separator}{sign}{separator}{number}" for sign, number in zip(signs, numbers[1:], strict=True)
        )
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{expression}="
            if options.style is Style.short
            else f"Calculate {expression}. {extract.request(options.answer)}",
            entry={"expression": expression, "answer": str(result)},
            solution=extract.mark(steps, str(result), options.answer),
        )

    def warm_up(self) -> None:
        equivalence.prepare()

    def score(self, problem: Problem, answer: str) -> Verdict:
        found = extract.answer(answer, self.options.answer)
        if found is None:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        right = equivalence.equivalent(problem.entry["answer"], found)
        return Verdict(reward=float(right), detail=found[:64], found=extract.all_in_form([found], self.options.answer))

    def canonical(self, problem: Problem, answer: str) -> str:
        found = extract.answer(answer, self.options.answer)
        return "" if found is None else canonical.mathematical([found])

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return relaxed.short_answers(answer, self.options.answer, relaxed.Sought.number)


def worked(numbers: list[int], signs: list[str]) -> tuple[str, int]:
    """The steps of a calculation, comma-separated, and its result: products first, then sums from left to right."""
    steps: list[str] = []
    terms, rest = [numbers[0]], []
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] = _product(terms[-1], number, steps)
        else:
            terms.append(number)
            rest.append(sign)
    total = terms[0]
    for sign, term in zip(rest, terms[1:], strict=True):
        total = _sum(total, term if sign == "+" else -term, steps, whole=len(numbers) > 2)
    return ",".join(steps), total


def _product(a: int, b: int, steps: list[str]) -> int:
    """One partial product per digit of `b`, then their sum."""
    parts = [int(digit) * 10**place for place, digit in enumerate(reversed(str(b))) if digit != "0"] or [0]
    if len(parts) == 1:
        steps.append(f"{a}*{b}={a * b}")
        return a * b
    total = 0
    for part in parts:
        steps.append(f"{a}*{part}={a * part}")
        if total:
            steps.append(f"{total}+{a * part}={total + a * part}")
        total += a * part
    return total


def _sum(a: int, b: int, steps: list[str], whole: bool) -> int:
    """Digit by digit with carries or borrows when two numbers stand alone (`whole` false), else in one step."""
    if whole or min(abs(a), abs(b)) < 10 > max(abs(a), abs(b)):
        steps.append(f"{a}{'+' if b >= 0 else '-'}{abs(b)}={a + b}")
    elif b >= 0 or a >= -b:
        steps.extend(_by_digits(a, abs(b), "+" if b >= 0 else "-"))
    else:
        steps.extend([f"{a}<{-b}", *_by_digits(-b, a, "-")])
    return a + b


def _by_digits(a: int, b: int, sign: str) -> list[str]:
    """The steps of a + b or, for a >= b, of a - b: a digit that is too small borrows ten, `13-8=5,4-1-3=0`."""
    steps, carry = [], 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        if sign == "+":
            steps.append(f"{'1+' if carry else ''}{x}+{y}={x + y + carry}")
            carry = (x + y + carry) // 10
        else:
            lent = 10 if x - carry < y else 0
            steps.append(f"{x + lent}{'-1' if carry else ''}-{y}={x + lent - carry - y}")
            carry = lent // 10
    return steps
