"""Whether two formulas have the same value: both are calculated, exactly if all is rational, otherwise to many digits.

Formulas with variables are compared at points: fractions with large primes that depend on the variable's name, of both
signs. Different rational functions agree there with negligible probability (Schwartz 1980, Zippel 1979). The points are
always the same, so the same two formulas always get the same verdict.

Exponents, digits and magnitudes are bounded before anything is calculated. A value beyond a bound is unknown.
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import Any

from mpmath import MPContext

from prorl_mega.tasks.answers.operators import Tree, children

MAX_BITS = 30_000  # longest whole number that is calculated exactly
MAX_FACTORIAL = 500
MIN_POINTS, TRIES = 3, 8
PRECISIONS = ((120, 30), (2000, 600))
"""Digits to calculate with, and the power of ten that no value, nor its inverse, may exceed, so that rounding hides no
difference; the second pair is tried after the first."""

_PRIMES = (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051, 1061, 1063, 1069, 1087, 1091, 1093, 1097, 1103, 1109)
_CONSTANTS = {"pi", "e", "i"}
_CIRCULAR = {"sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "exp": "exp",
             "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh",
             "tanh": "tanh"}  # fmt: skip

Value = Any  # Fraction, or a real or complex number of the context
Point = Callable[[str], Fraction]


class UnknownError(ValueError):
    """The value cannot be calculated within the bounds."""


class UndefinedError(ValueError):
    """There is no value: division by zero, logarithm of zero."""


def equal(a: Tree, b: Tree) -> bool:
    """Whether two formulas agree wherever they are defined. Raises UnknownError."""
    return all(pair is not None and _close(*pair) for pair in _pairs(a, b))


def proportional(a: Tree, b: Tree) -> bool:
    """Whether a is b times a number other than zero: then the equations a = 0 and b = 0 say the same."""
    return _constant(operator.truediv, a, b)


def shifted(a: Tree, b: Tree) -> bool:
    """Whether a and b differ by a number only: then they are antiderivatives of the same function."""
    return _constant(operator.sub, a, b)


def _constant(combine: Callable[[Value, Value], Value], a: Tree, b: Tree) -> bool:
    found: list[Value] = []
    for pair in _pairs(a, b):
        if pair is None or (combine is operator.truediv and any(_close(value, Fraction(0)) for value in pair)):
            return False
        found.append(combine(*_alike(*pair)))
    return all(_close(each, found[0]) for each in found)


def symbols(tree: Tree) -> frozenset[str]:
    """Names of the variables of a formula."""
    if tree[0] == "symbol":
        return frozenset((tree[1],)) - _CONSTANTS
    return frozenset[str]().union(*map(symbols, children(tree)))


@lru_cache(maxsize=4096)
def _coordinate(name: str, number: int) -> Fraction:
    code = hashlib.blake2b(f"{name}\n{number}".encode(), digest_size=8).digest()
    size = Fraction(_PRIMES[code[0] % len(_PRIMES)] * (1 + code[1] % 3), _PRIMES[code[2] % len(_PRIMES)] + code[3])
    positive = (True, code[4] % 2 == 0, False)[number % 3]
    return size if positive else -size


def _pairs(a: Tree, b: Tree) -> Iterator[tuple[Value, Value] | None]:
    """The values of both at a few points; None where only one of them is defined. Raises UnknownError."""
    seen, wanted = 0, MIN_POINTS if symbols(a) | symbols(b) else 1
    for number in range(TRIES if wanted > 1 else 1):
        values = _at([a, b], number)
        if values:
            yield (values[0], values[1]) if len(values) == 2 else None
            seen += 1
            if seen == wanted:
                return
    raise UnknownError("defined at too few points")


def _at(trees: list[Tree], number: int) -> list[Value]:
    """Values of those formulas that are defined at a point."""
    for digits, limit in PRECISIONS:
        calculator = _Calculator(digits, limit, lambda name: _coordinate(name, number))
        values = []
        try:
            for tree in trees:
                with contextlib.suppress(UndefinedError):
                    values.append(calculator.value(tree))
            return values
        except UnknownError as error:
            unknown = error
    raise unknown


_CONTEXT = MPContext()


def _alike(a: Value, b: Value) -> tuple[Value, Value]:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a, b
    return _inexact(a), _inexact(b)


def _inexact(value: Value) -> Value:
    return _CONTEXT.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _close(a: Value, b: Value) -> bool:
    """Whether two values are equal: exactly for fractions, otherwise to three quarters of the digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = _inexact(a), _inexact(b)
    scale = max(_CONTEXT.mpf(1), abs(a), abs(b))
    return bool(abs(a - b) <= scale * _CONTEXT.mpf(10) ** (-3 * _CONTEXT.dps // 4))


class _Calculator:
    """Values of formulas at one point."""

    def __init__(self, digits: int, limit: int, point: Point) -> None:
        self.limit = _CONTEXT.mpf(10) ** limit
        self.point = point
        self._operations: dict[str, Callable[..., Value]] = {
            "-": operator.neg, "/": self._quotient, "^": self._power, "root": self._root,
            "%": lambda value: self._quotient(value, Fraction(100)),
            "degree": lambda value: self._checked(self._real(value) * _CONTEXT.pi / 180),
            "!": self._factorial, "binom": self._binomial,
        }  # fmt: skip
        _CONTEXT.dps = digits

    def value(self, tree: Tree) -> Value:
        kind, *parts = tree
        if kind == "number":
            return parts[0]
        if kind == "symbol":
            return self._symbol(parts[0])
        if kind in ("+", "*"):
            return (self._sum if kind == "+" else self._product)([self.value(part) for part in parts[0]])
        if kind == "call":
            return self._call(parts[0], self.value(parts[1]))
        if kind == "log":
            return self._quotient(self._logarithm(self.value(parts[1])), self._logarithm(self.value(parts[0])))
        if kind not in self._operations:
            raise UnknownError(f"{kind} has no value")
        return self._operations[kind](*map(self.value, parts))

    def _symbol(self, name: str) -> Value:
        if name == "pi":
            return +_CONTEXT.pi
        if name == "e":
            return +_CONTEXT.e
        return _CONTEXT.mpc(0, 1) if name == "i" else self.point(name)

    def _checked(self, value: Value) -> Value:
        """The value, if its size leaves enough digits for sums. Raises UnknownError or UndefinedError otherwise."""
        if isinstance(value, Fraction):
            if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
                raise UnknownError("too many digits")
            return value
        size = abs(value)
        if not _CONTEXT.isfinite(size):
            raise UndefinedError("no number")
        if size > self.limit or 0 < size < 1 / self.limit:
            raise UnknownError("too large or too small")
        return value

    def _real(self, value: Value) -> Value:
        """A fraction as a number of the context."""
        return self._checked(_inexact(value)) if isinstance(value, Fraction) else value

    def _sum(self, terms: list[Value]) -> Value:
        exact = sum((term for term in terms if isinstance(term, Fraction)), Fraction(0))
        others = [term for term in terms if not isinstance(term, Fraction)]
        self._checked(exact)
        return sum(others, self._real(exact)) if others else exact

    def _product(self, factors: list[Value]) -> Value:
        exact = all(isinstance(factor, Fraction) for factor in factors)
        value: Value = Fraction(1) if exact else _CONTEXT.mpf(1)
        for factor in factors:
            if factor == 0:
                return Fraction(0)
            value = self._checked(value * (factor if exact else self._real(factor)))
        return value

    def _quotient(self, above: Value, below: Value) -> Value:
        if below == 0 or _close(below, Fraction(0)):
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
        if abs(exponent) * (abs(_CONTEXT.log(base)) + 1) > 4000:
            raise UnknownError("too large a power")
        return self._checked(_CONTEXT.power(base, exponent))

    def _root(self, degree: Value, value: Value) -> Value:
        if not isinstance(degree, Fraction) or degree.denominator > 1 or not 1 <= degree <= 200:
            raise UnknownError("no root of this degree")
        count = degree.numerator
        if value == 0:
            return Fraction(0)
        if isinstance(value, Fraction):
            above, below = (_whole_root(abs(part), count) for part in (value.numerator, value.denominator))
            if above and below and (value > 0 or count % 2):
                return Fraction(above, below) * (1 if value > 0 else -1)
        number = self._real(value)
        negative = count % 2 and _CONTEXT.im(number) == 0 and _CONTEXT.re(number) < 0
        return -_CONTEXT.root(-number, count) if negative else self._checked(_CONTEXT.root(number, count))

    def _logarithm(self, value: Value) -> Value:
        if value == 0 or _close(value, Fraction(0)):
            raise UndefinedError("logarithm of zero")
        return Fraction(0) if value == 1 else self._checked(_CONTEXT.log(self._real(value)))

    def _call(self, name: str, value: Value) -> Value:
        if name == "abs":
            return abs(value)
        if name in ("floor", "ceil"):
            if not isinstance(value, Fraction):
                raise UnknownError("rounding of what is not exact")
            return Fraction(value.__floor__() if name == "floor" else value.__ceil__())
        if name == "ln":
            return self._logarithm(value)
        if name == "log":  # the common one: without a base it is ambiguous, but the same on both sides
            return self._quotient(self._logarithm(value), self._logarithm(Fraction(10)))
        if name not in _CIRCULAR:
            raise UnknownError(f"no function {name}")
        if value == 0 and name in ("cot", "csc"):
            raise UndefinedError("a pole")
        number = self._real(value) if value != 0 else _CONTEXT.mpf(0)
        if abs(number) > 700:
            raise UnknownError("too large an argument")
        result = getattr(_CONTEXT, _CIRCULAR[name])(number)
        return Fraction(0) if _close(result, Fraction(0)) else self._checked(result)

    def _factorial(self, number: Value) -> Value:
        return Fraction(factorial(_counted(number)))

    def _binomial(self, upper: Value, lower: Value) -> Value:
        """The upper number may be any fraction."""
        lower = _counted(lower)
        if not isinstance(upper, Fraction) or abs(upper) > MAX_FACTORIAL:
            raise UnknownError("counts of small numbers only")
        result = Fraction(1)
        for number in range(lower):
            result = self._checked(result * (upper - number) / (number + 1))
        return result


def _counted(number: Value) -> int:
    if not (isinstance(number, Fraction) and number.denominator == 1 and 0 <= number <= MAX_FACTORIAL):
        raise UnknownError("counts of small whole numbers only")
    return int(number)


def _whole_root(number: int, degree: int) -> int | None:
    from sympy import integer_nthroot

    root, is_exact = integer_nthroot(number, degree) if number.bit_length() <= 4000 else (0, False)
    return int(root) if is_exact else None
