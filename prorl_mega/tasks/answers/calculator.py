"""Values of formulas at a point: exact fractions where all is rational, otherwise numbers to many digits.

Exponents, digits and magnitudes are bounded before anything is calculated. A value beyond a bound is unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import MPContext

from prorl_mega.tasks.answers import exact
from prorl_mega.tasks.answers.operators import Tree
from prorl_mega.tasks.answers.points import Points

MAX_BITS = 30_000  # longest whole number that is calculated exactly
PRECISIONS = ((120, 30), (740, 220), (2000, 600))
"""Digits to calculate with, and the power of ten that no value, nor its inverse, may exceed, so that rounding hides no
difference; each pair is tried after the one before it. Above 740 digits mpmath's logarithms take a hundred times as
long."""
MAX_HYPERBOLIC = 630  # argument whose tanh is told from 1 by 740 digits

_CIRCULAR = {"sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "exp": "exp",
             "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh",
             "tanh": "tanh"}  # fmt: skip

Value = Any  # Fraction, or a real or complex number of the context


class UnknownError(ValueError):
    """The value cannot be calculated within the bounds."""


class UndefinedError(ValueError):
    """There is no value: division by zero, logarithm of zero."""


CONTEXT = MPContext()
_ZERO, _LN_2 = Fraction(0), 0.6931
UNCERTAIN_BITS = 8  # magnitudes, which are powers of two, are known to a few bits


def alike(a: Value, b: Value) -> tuple[Value, Value]:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a, b
    return inexact(a), inexact(b)


def inexact(value: Value) -> Value:
    return CONTEXT.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def close(a: Value, b: Value, digits: int | None = None) -> bool:
    """Whether two values are equal: exactly for fractions, otherwise to three quarters of the digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b, digits = inexact(a), inexact(b), digits or CONTEXT.dps
    apart = CONTEXT.mag(a - b) - max(1, CONTEXT.mag(a), CONTEXT.mag(b)) - _magnitude_of_tolerance(digits)
    if abs(apart) > UNCERTAIN_BITS:
        return bool(apart < 0)
    scale = max(CONTEXT.mpf(1), abs(a), abs(b))
    return bool(abs(a - b) <= scale * _tolerance(digits))


@lru_cache
def _tolerance(digits: int) -> Value:
    return CONTEXT.mpf(10) ** (-3 * digits // 4)


@lru_cache
def _magnitude_of_tolerance(digits: int) -> int:
    return int(CONTEXT.mag(_tolerance(digits)))


def _is_zero(value: Value) -> bool:
    return close(value, _ZERO)


@lru_cache
def calculator(level: int) -> Calculator:
    return Calculator(*PRECISIONS[level])


class Calculator:
    """Values of formulas, to a number of digits."""

    points: Points
    number: int  # of the point
    real: bool  # no value has been complex

    def __init__(self, digits: int, limit: int) -> None:
        self.digits = digits
        self.most, self.least = CONTEXT.mpf(10) ** limit, CONTEXT.mpf(10) ** -limit
        self.surely = 3 * limit  # powers of two that are within these limits
        self._operations: dict[str, Callable[..., Value]] = {
            "-": operator.neg, "/": self._quotient, "^": self._power, "root": self._root,
            "%": lambda value: self._quotient(value, Fraction(100)),
            "degree": lambda value: self._checked(self._real(value) * CONTEXT.pi / 180),
            "!": lambda value: self._counted(exact.factorial(value)),
            "binom": lambda upper, lower: self._counted(exact.binomial(upper, lower)),
            "log": self._based_logarithm,
        }  # fmt: skip

    def at(self, points: Points, number: int) -> Calculator:
        """The same calculator, at a point."""
        CONTEXT.dps, self.points, self.number, self.real = self.digits, points, number, True
        return self

    def value(self, tree: Tree) -> Value:
        kind, *parts = tree
        if kind == "number":
            return parts[0]
        if kind == "symbol":
            return self._symbol(parts[0])
        if kind in ("+", "*"):
            return (self._sum if kind == "+" else self._product)([self.value(part) for part in parts[0]])
        if kind == "apply":
            return self._unknown_function(parts[0], [self.value(part) for part in parts[1]])
        if kind == "call":
            return self._call(parts[0], self.value(parts[1]))
        if kind not in self._operations:
            raise UnknownError(f"{kind} has no value")
        return self._operations[kind](*map(self.value, parts))

    def _symbol(self, name: str) -> Value:
        if name == "pi":
            return +CONTEXT.pi
        if name == "e":
            return +CONTEXT.e
        return CONTEXT.mpc(0, 1) if name == "i" else self.points.coordinate(name, self.number)

    def _unknown_function(self, name: str, arguments: list[Value]) -> Value:
        """Some number, the same for equal arguments."""
        shown = [str(each) if isinstance(each, Fraction) else CONTEXT.nstr(each, 40) for each in arguments]
        drawn = self.points.drawn(f"{self.number} {name} of {'; '.join(shown)}")
        return Fraction(1 + drawn % 4093, 1 + (drawn >> 32) % 4091)

    def _checked(self, value: Value) -> Value:
        """The value, if its size leaves enough digits for sums. Raises UnknownError or UndefinedError otherwise."""
        if isinstance(value, Fraction):
            if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
                raise UnknownError("too many digits")
            return value
        if isinstance(value, CONTEXT.mpc) and not _is_zero(value.imag):
            self.real = False
        if value and abs(CONTEXT.mag(value)) < self.surely:
            return value
        size = abs(value)
        if not CONTEXT.isfinite(size):
            raise UndefinedError("no number")
        if size > self.most or 0 < size < self.least:
            raise UnknownError("too large or too small")
        return value

    def _real(self, value: Value) -> Value:
        """A fraction as a number of the context."""
        if not isinstance(value, Fraction):
            return value
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * CONTEXT.dps:
            raise UnknownError("more digits than are calculated with")
        return self._checked(inexact(value))

    def _sum(self, terms: list[Value]) -> Value:
        exact = sum((term for term in terms if isinstance(term, Fraction)), Fraction(0))
        others = [term for term in terms if not isinstance(term, Fraction)]
        self._checked(exact)
        return sum(others, self._real(exact)) if others else exact

    def _product(self, factors: list[Value]) -> Value:
        exact = all(isinstance(factor, Fraction) for factor in factors)
        value: Value = Fraction(1) if exact else CONTEXT.mpf(1)
        for factor in factors:
            if factor == 0:
                return Fraction(0)
            value = self._checked(value * (factor if exact else self._real(factor)))
        return value

    def _quotient(self, above: Value, below: Value) -> Value:
        if _is_zero(below):
            raise UndefinedError("division by zero")
        if isinstance(above, Fraction) and isinstance(below, Fraction):
            return self._checked(above / below)
        return self._checked(self._real(above) / self._real(below)) if above != 0 else Fraction(0)

    def _power(self, base: Value, exponent: Value) -> Value:
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            power = exponent.numerator
            if base == 0 and power <= 0:
                raise UndefinedError("power of zero")
            if isinstance(base, Fraction):
                if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(power) > MAX_BITS:
                    raise UnknownError("too many digits")
                return base**power
            if abs(power) > 4000:
                raise UnknownError("too large a power")
            return self._checked(base**power)
        if base == 0:
            raise UndefinedError("power of zero")
        base, exponent = self._real(base), self._real(exponent)
        if abs(exponent) * (abs(CONTEXT.mag(base)) * _LN_2 + 1) > 4000:
            raise UnknownError("too large a power")
        return self._checked(CONTEXT.power(base, exponent))

    def _root(self, degree: Value, value: Value) -> Value:
        if not isinstance(degree, Fraction) or degree.denominator > 1 or not 1 <= degree <= 200:
            raise UnknownError("no root of this degree")
        count = degree.numerator
        if value == 0:
            return Fraction(0)
        if isinstance(value, Fraction):
            above, below = (exact.whole_root(abs(part), count) for part in (value.numerator, value.denominator))
            if above and below and (value > 0 or count % 2):
                return Fraction(above, below) * (1 if value > 0 else -1)
        number = self._real(value)
        negative = count % 2 and CONTEXT.im(number) == 0 and CONTEXT.re(number) < 0
        return -CONTEXT.root(-number, count) if negative else self._checked(CONTEXT.root(number, count))

    def _logarithm(self, value: Value) -> Value:
        if _is_zero(value):
            raise UndefinedError("logarithm of zero")
        return Fraction(0) if value == 1 else self._checked(CONTEXT.log(self._real(value)))

    def _based_logarithm(self, base: Value, value: Value) -> Value:
        if (whole := exact.whole_logarithm(base, value)) is not None:
            return whole
        return self._quotient(self._logarithm(value), self._logarithm(base))

    def _call(self, name: str, value: Value) -> Value:
        if name == "abs":
            return abs(value)
        if name in ("floor", "ceil"):
            known = value if isinstance(value, Fraction) else self._beside_whole(value)
            return Fraction(known.__floor__() if name == "floor" else known.__ceil__())
        if name == "ln":
            return self._logarithm(value)
        if name == "log":  # the common one: without a base it is ambiguous, but the same on both sides
            return self._quotient(self._logarithm(value), self._logarithm(Fraction(10)))
        if name not in _CIRCULAR:
            raise UnknownError(f"no function {name}")
        if value == 0 and name in ("cot", "csc"):
            raise UndefinedError("a pole")
        number = self._real(value) if value != 0 else CONTEXT.mpf(0)
        if abs(number) > (MAX_HYPERBOLIC if name.endswith("h") else 10**9):
            raise UnknownError("too large an argument")
        result = getattr(CONTEXT, _CIRCULAR[name])(number)
        return Fraction(0) if _is_zero(result) else self._checked(result)

    def _beside_whole(self, value: Value) -> Fraction:
        """A fraction between the same whole numbers as a value that is not whole."""
        if isinstance(value, CONTEXT.mpc) or close(value, CONTEXT.nint(value)):
            raise UnknownError("rounding of what may be whole")
        return Fraction(2 * int(CONTEXT.floor(value)) + 1, 2)

    def _counted(self, count: Fraction | None) -> Value:
        if count is None:
            raise UnknownError("counts of small whole numbers only")
        return self._checked(count)
