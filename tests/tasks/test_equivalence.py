"""Both signs of the comparison; what must never be accepted stands first."""

import pytest

from prorl_mega.tasks.answers.equivalence import equivalent, number
from prorl_mega.tasks.answers.formula import read
from prorl_mega.tasks.answers.points import REGIONS, Points

WRONG = [
    ("82", "83"), ("82", "8 2"), ("82", ""), ("82", "-82"), ("82", "1=2=82"), ("82", "x=1=82"), ("82", "37+45"),
    ("82", r"2\cdot 41"), ("4", "2^2"), ("4", r"\sqrt{16}"), ("4", "4}{4"), ("4", "{4"), ("4", "4 or 5"), ("4", "4,5"),
    ("4", "9**9**9**9"), ("4", "9^9^9^9"), ("x", "9^{9^{9^{9}}}"), ("x", "x^{99999}"), ("x", "9" * 500),
    ("4", "__import__('os').system('x')"), ("4", "NaN"), ("0", "nan"), ("1", "1/0"), ("1", r"\frac{1}{0}"),
    ("5050", r"\sum_{k=1}^{100} k"), ("1/3", r"\int_0^1 x^2 dx"), ("6", "3!"), ("1/3", "0.333333"), ("4", r"4\%"),
    ("x+1", "x+2"), ("4", "true"), ("4", "\x00"), ("4", "4" * 600), ("(1,2)", "(2,1)"), ("10", r"\binom{5}{2}"),
]  # fmt: skip
RIGHT = [
    ("82", "82"), ("82", " 82. "), ("82", "82.0"), ("82", "$82$"), ("82", "+82"), ("82", "082"), ("1200", "1,200"),
    ("1200", r"1.2\times 10^{3}"), ("1200", r"1{,}200"), ("4", "x=4"), ("4", r"\(4\)"), ("3/4", "0.75"),
    (r"\frac{3}{4}", "3/4"), ("3/4", r"\frac34"), ("3/4", r"\dfrac{6}{8}"), ("0.1", "1/10"), ("-1/2", r"-\frac{1}{2}"),
    (r"5\sqrt{2}", r"\sqrt{50}"), ("x+1", "1+x"), ("(1,2)", "(1, 2)"), (r"\frac{\pi}{2}", r"\frac{1}{2}\pi"),
    (r"\sum_{k=1}^{n} k", r"\sum_{k=1}^{n} k"), ("x=2", "x = 2"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "answer"), WRONG)
def test_wrong(reference: str, answer: str) -> None:
    assert not equivalent(reference, answer)


@pytest.mark.parametrize(("reference", "answer"), RIGHT)
def test_right(reference: str, answer: str) -> None:
    assert equivalent(reference, answer)


def test_large_numbers_are_exact() -> None:
    assert equivalent("12345678901234567890", "12,345,678,901,234,567,890")
    assert not equivalent("12345678901234567890", "12345678901234567891")
    assert not equivalent("0.1234567890", "0.1234567891")


def test_numbers_are_literals() -> None:
    assert number("1e5") is None
    assert number("1_000") is None
    assert number("1" * 65) is None


def test_points_depend_on_both_formulas_and_on_nothing_else() -> None:
    one, other, third = (read(text) for text in ("x+1", "1+x", "2+x"))
    names = frozenset("x")
    drawn = [[Points(*pair, names).coordinate("x", number) for number in range(len(REGIONS))]
             for pair in ((one, other), (one, other), (one, third))]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_points_lie_in_every_region() -> None:
    points = Points(read("x+1000y"), read(r"\lfloor x\rfloor"), frozenset("xy"))
    drawn = [(points.coordinate("x", number), points.coordinate("y", number)) for number in range(len(REGIONS))]
    assert {(x > 0, y > 0) for x, y in drawn[:4]} == {(a, b) for a in (True, False) for b in (True, False)}
    assert min(abs(x) for x, _ in drawn) < 1
    assert max(x for x, _ in drawn) > 1000
    assert min(x for x, _ in drawn) < -1000
    assert any(x.denominator == 1 and x % 2520 == 0 for x, _ in drawn)
    assert points.wanted == len(REGIONS), "a formula with jumps is compared in all of them"


def test_an_answer_that_vanishes_at_the_points_of_another_is_wrong() -> None:
    """Whoever knows the points of one answer does not know those of the answer that he makes of them."""
    points = Points(read("x"), read("x+1"), frozenset("x"))
    zeros = [points.coordinate("x", number) for number in range(len(REGIONS))]
    product = "".join(f"(x-({zero.numerator}/{zero.denominator}))" for zero in zeros[:7])
    assert not equivalent("x", f"x+{product}")
    assert not equivalent("x=0", f"x={product}")
