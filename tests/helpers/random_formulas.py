"""Formulas that are made at random, with a value of their own: what is accepted has to be equal to 60 digits.

The oracle is independent of the judge: it never reads a formula, but keeps the function from which the text was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from mpmath import mp, mpc, mpf

from prorl_mega.tasks.answers.equivalence import equivalent

DIGITS, DEPTH = 60, 3
POINTS = 12  # of every kind: small, large, negative, whole
LETTERS = "xyn"
Point = dict[str, mpf]


@dataclass(frozen=True)
class Formula:
    """A formula as text, and its value at a point."""

    text: str
    value: Callable[[Point], mpf | mpc]


def leaf(random: Random) -> Formula:
    if random.random() < 0.5:
        name = random.choice(LETTERS)
        return Formula(name, lambda point: point[name])
    number = random.randint(1, 12)
    return Formula(str(number), lambda _: mpf(number))


def formula(random: Random, depth: int = DEPTH) -> Formula:
    if depth == 0 or random.random() < 0.15:
        return leaf(random)
    return random.choice(KINDS)(random, formula(random, depth - 1), depth)


def _sum(random: Random, a: Formula, depth: int) -> Formula:
    b = formula(random, depth - 1)
    if random.random() < 0.5:
        return Formula(f"({a.text}+{b.text})", lambda p: a.value(p) + b.value(p))
    return Formula(f"({a.text}-({b.text}))", lambda p: a.value(p) - b.value(p))


def _product(random: Random, a: Formula, depth: int) -> Formula:
    b = formula(random, depth - 1)
    return Formula(rf"({a.text})\cdot({b.text})", lambda p: a.value(p) * b.value(p))


def _quotient(random: Random, a: Formula, depth: int) -> Formula:
    b = formula(random, depth - 1)
    return Formula(rf"\frac{{{a.text}}}{{{b.text}}}", lambda p: a.value(p) / b.value(p))


def _power(random: Random, a: Formula, depth: int) -> Formula:
    exponent = random.randint(2, 4)
    return Formula(f"({a.text})^{exponent}", lambda p: a.value(p) ** exponent)


def _called(latex: str, function: Callable[[mpf], mpf]) -> Callable[[Random, Formula, int], Formula]:
    return lambda random, a, depth: Formula(latex.replace("#", a.text), lambda p: _real(function(a.value(p))))


def _real(value: mpf | mpc) -> mpf:
    """The value of a function of real numbers. Raises ValueError where it has none."""
    if isinstance(value, mpc):
        raise ValueError("no real value")
    return value


def _short_of(value: mpf | mpc, limit: int) -> mpf | mpc:
    """An argument of tanh whose value the oracle's digits tell from 1: beyond the limit, its ceiling would be wrong."""
    if abs(value) > limit:
        raise ValueError("more digits than the oracle has")
    return value


KINDS = [
    _sum, _sum, _product, _product, _quotient, _power,
    _called(r"\sqrt{#}", mp.sqrt), _called(r"\sin(#+0)", mp.sin), _called(r"\cos(#+0)", mp.cos),
    _called(r"\ln(#+0)", mp.log),
    _called(r"e^{#}", lambda v: mp.exp(v) if abs(v) < 10**5 else mp.inf),
    _called(r"\left|#\right|", abs),
    _called(r"\lfloor #\rfloor", lambda v: mp.floor(v)), _called(r"\lceil #\rceil", lambda v: mp.ceil(v)),
    _called(r"\tanh(#+0)", lambda v: mp.tanh(_short_of(v, 4 * DIGITS))),
]  # fmt: skip


def rewritten(random: Random, a: Formula) -> Formula:
    """The same function, written in another way; now and then one that is the same nearly everywhere."""
    b = formula(random, 1)
    ways = [
        Formula(f"{b.text}+{a.text}-({b.text})", a.value),
        Formula(rf"\frac{{({a.text})\cdot 7}}{{7}}", a.value),
        Formula(f"-(-({a.text}))", a.value),
        Formula(rf"({a.text})\cdot\tanh 120", lambda p: a.value(p) * mp.tanh(120)),
        Formula(rf"{a.text}+10^{{-50}}", lambda p: a.value(p) + mpf(10) ** -50),
        Formula(rf"{a.text}+\lfloor\frac{{{b.text}}}{{50}}\rfloor", lambda p: a.value(p) + mp.floor(b.value(p) / 50)),
        Formula(rf"\left|{a.text}\right|", lambda p: abs(a.value(p))),
        Formula(rf"\sqrt{{({a.text})^2}}", lambda p: mp.sqrt(a.value(p) ** 2)),
        Formula(rf"e^{{\ln({a.text}+0)}}", lambda p: mp.exp(mp.log(a.value(p)))),
    ]
    return random.choice(ways)


def points(random: Random) -> list[Point]:
    sizes = [lambda: mpf(random.random()), lambda: mpf(random.uniform(1, 9)), lambda: mpf(random.uniform(50, 5000)),
             lambda: mpf(random.randint(1, 300))]  # fmt: skip
    return [{name: random.choice((-1, 1)) * size() for name in LETTERS} for size in sizes for _ in range(POINTS)]


def known(a: Formula, point: Point) -> mpf | mpc | None:
    try:
        value = a.value(point)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        return None
    return value if mp.isfinite(value) and abs(value) < mpf(10) ** 200 else None


def differ(random: Random, a: Formula, b: Formula) -> bool:
    """Whether two formulas differ at a fifth of the points at which the first has a real value, or at more."""
    with mp.workdps(4 * DIGITS):
        pairs = [(known(a, point), known(b, point)) for point in points(random)]
        both = [(value, other) for value, other in pairs if value is not None and other is not None]
        unequal = [value for value, other in both if abs(value - other) > mpf(10) ** -DIGITS * max(1, abs(value))]
    return 5 * len(unequal) > len(both)


def wrongly_accepted(random: Random) -> tuple[str, str] | None:
    """Two formulas that the judge takes for equal although they are not; None if it does not."""
    a = formula(random)
    b = rewritten(random, a) if random.random() < 0.6 else formula(random)
    return (a.text, b.text) if equivalent(a.text, b.text) and differ(random, a, b) else None
