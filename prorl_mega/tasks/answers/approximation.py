r"""Whether what stands behind \approx rounds what stands before it: 1.41 rounds \sqrt{2}, and 99 does not."""

from __future__ import annotations

from fractions import Fraction

from prorl_mega.tasks.answers import literal, scan, units
from prorl_mega.tasks.answers.formula import read
from prorl_mega.tasks.answers.tokens import UnreadableError

_FRACTION_OFF = Fraction(1, 200)  # relative difference of 22/7, which has no last digit, and pi


def holds(answer: str) -> bool:
    r"""Whether an answer has no \approx, or one that is true as far as its sides can be calculated."""
    exact, about, rough = literal.undecorated(answer).partition(literal.APPROXIMATELY)
    return not about or near(exact, rough)


def near(exact: str, rough: str) -> bool:
    """Whether `rough` can be the rounded form of `exact`, and is no second answer; so it is for words and variables."""
    rough, unit = literal.without_unit(rough)
    if unit and units.unit(unit) is None:
        return False
    decimal = literal.number(rough)
    if literal.number(exact) is not None or decimal is None:
        return literal.near(exact, rough)
    value = _value(literal.without_unit(exact)[0])
    if value is None:
        return True
    return literal.rounds(value, decimal, literal.last_place(rough) or abs(value) * _FRACTION_OFF)


def _value(text: str) -> Fraction | None:
    try:
        value = scan.constant(read(literal.bare(text)))
    except (UnreadableError, RecursionError):
        return None
    return None if value is None else Fraction(value)
