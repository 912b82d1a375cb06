"""Functions of fractions whose values are fractions: roots, logarithms, counts; None for other values."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

MAX_ROOT_BITS = 4000
MAX_FACTORIAL = 500
_MAX_LOGARITHM = 1000


def whole_root(number: int, degree: int) -> int | None:
    """The root of a number that is not negative, if it is whole."""
    from sympy import integer_nthroot  # takes half a second to import

    root, is_exact = integer_nthroot(number, degree) if number.bit_length() <= MAX_ROOT_BITS else (0, False)
    return int(root) if is_exact else None


def whole_logarithm(base: Any, value: Any) -> Fraction | None:
    """The logarithm of one fraction to the base of another, if it is whole."""
    if not (isinstance(base, Fraction) and isinstance(value, Fraction) and base > 0 and value > 0 and base != 1):
        return None
    over, under = (math.log(each.numerator) - math.log(each.denominator) for each in (value, base))
    if under == 0 or abs(over / under) > _MAX_LOGARITHM:
        return None
    exponent = round(over / under)
    return Fraction(exponent) if base**exponent == value else None


def factorial(number: Any) -> Fraction | None:
    return Fraction(math.factorial(int(number))) if _is_count(number) else None


def binomial(upper: Any, lower: Any) -> Fraction | None:
    """The upper number may be any fraction."""
    if not _is_count(lower) or not isinstance(upper, Fraction) or abs(upper) > MAX_FACTORIAL:
        return None
    result = Fraction(1)
    for number in range(int(lower)):
        result = result * (upper - number) / (number + 1)
    return result


def _is_count(number: Any) -> bool:
    return isinstance(number, Fraction) and number.denominator == 1 and 0 <= number <= MAX_FACTORIAL
