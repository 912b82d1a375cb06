r"""Whether two formulas have the same value: both are calculated, exactly if all is rational, otherwise to many digits.

Formulas with variables are compared at the points of `points.py`, those at which the reference, the first of the two,
has a value. Where it has real values for real variables, only these count: \sqrt{x} says nothing about negative x.
Values that are not exact are compared twice, the second time with many more digits, so that 1 - 10^-200 is not 1.

Exponents, digits and magnitudes are bounded before anything is calculated. A value beyond a bound is unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from math import factorial
from typing import Any, NamedTuple

from mpmath import MPContext

from prorl_mega.tasks.answers.operators import Tree, children
from prorl_mega.tasks.answers.points import Points
from prorl_mega.tasks.answers.tokens import CONSTANTS

MAX_BITS = 30_000  # longest whole number that is calculated exactly
MAX_FACTORIAL = 500
PRECISIONS = ((120, 30), (840, 240), (2000, 600))
"""Digits to calculate with, and the power of ten that no value, nor its inverse, may exceed, so that rounding hides no
difference; each pair is tried after the one before it."""

_ANYWHERE: Tree = ("text", "any formula")
_SHOWN = 15  # digits of a value that is not exact, in a fingerprint

_CIRCULAR = {"sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "exp": "exp",
             "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh",
             "tanh": "tanh"}  # fmt: skip

Value = Any  # Fraction, or a real or complex number of the context
Pair = tuple[
    Value, Value, int
]  # the value of the reference, that of the answer, and the digits they were calculated to


class UnknownError(ValueError):
    """The value cannot be calculated within the bounds."""


class UndefinedError(ValueError):
    """There is no value: division by zero, logarithm of zero."""


def equal(gold: Tree, answer: Tree) -> bool:
    """Whether an answer has the value of a reference wherever that has one. Raises UnknownError."""
    return all(pair is not None and _close(*pair) for pair in _pairs(gold, answer))


def proportional(gold: Tree, answer: Tree) -> bool:
    """Whether one is the other times a number that is not zero: then the equations gold = 0 and answer = 0 agree."""
    return _constant(operator.truediv, gold, answer)


def shifted(gold: Tree, answer: Tree) -> bool:
    """Whether the two differ by a number only: then they are antiderivatives of the same function."""
    return _constant(operator.sub, gold, answer)


def fingerprint(tree: Tree) -> list[str]:
    """The values of a formula at some points, the same ones for all formulas in the same variables, so that equal
    formulas have equal fingerprints; "?" where there is none. Raises UnknownError if there is none anywhere."""
    names = symbols(tree)
    points, found = Points(_ANYWHERE, _ANYWHERE, names), []
    for number in range(Points(tree, tree, names).wanted):
        known = _value(tree, points, number)
        found.append("?" if known is None else _shown(known.value))
    if set(found) == {"?"}:
        raise UnknownError("not defined, or out of bounds")
    return found


def _shown(value: Value) -> str:
    if isinstance(value, Fraction) and value.denominator < 10**_SHOWN:
        return str(value)
    value = _inexact(value)
    if abs(_CONTEXT.im(value)) <= abs(_CONTEXT.re(value)) * _CONTEXT.mpf(10) ** -_SHOWN:
        value = _CONTEXT.re(value)
    return str(_CONTEXT.nstr(value, _SHOWN))


def _constant(combine: Callable[[Value, Value], Value], gold: Tree, answer: Tree) -> bool:
    found: list[tuple[Value, int]] = []
    for pair in _pairs(gold, answer, confirmed=2):
        if pair is None:
            return False
        *both, digits = pair
        if combine is operator.truediv and any(_close(value, Fraction(0), digits) for value in both):
            return False
        found.append((combine(*_alike(*both)), digits))
    return all(_close(one, other, min(digits, more)) for (one, digits), (other, more) in combinations(found, 2))


def symbols(tree: Tree) -> frozenset[str]:
    """Names of the variables and the unknown functions of a formula."""
    found, left = set(), [tree]
    while left:
        each = left.pop()
        if each[0] == "symbol" or each[0] == "apply":
            found.add(each[1])
        left += children(each)
    return frozenset(found - CONSTANTS)


def _pairs(gold: Tree, answer: Tree, confirmed: int = 1) -> Iterator[Pair | None]:
    """The values of both at some points, and to more digits at the first of them; None where only the reference is
    defined. Raises UnknownError."""
    points = Points(gold, answer, symbols(gold) | symbols(answer))
    seen, beyond = 0, []
    for number in points.numbers:
        if (reference := _value(gold, points, number)) is None:
            continue
        if points.wanted > 1 and not reference.real:
            beyond.append((number, reference))
            continue
        compared = list(_compared(reference, answer, points, number))
        yield from compared
        if compared and seen < confirmed:
            yield from _confirmed(gold, reference, answer, points, number)
        seen += len(compared)
        if seen == points.wanted:
            return
    if seen < points.least:  # the reference is no real function
        for number, reference in beyond[: points.wanted]:
            compared = list(_compared(reference, answer, points, number))
            yield from compared
            seen += len(compared)
    if seen < points.least:
        raise UnknownError("defined at too few points")


class _Known(NamedTuple):
    value: Value
    level: int  # of PRECISIONS
    real: bool  # and so are all values on the way to it


def _compared(reference: _Known, answer: Tree, points: Points, number: int) -> Iterator[Pair | None]:
    try:
        other = _value(answer, points, number, reference.level, must=True)
    except UnknownError:
        if points.hard(number):
            return
        raise
    yield None if other is None else (reference.value, other.value, PRECISIONS[reference.level][0])


def _confirmed(gold: Tree, known: _Known, answer: Tree, points: Points, number: int) -> Iterator[Pair | None]:
    """The values of formulas that are not rational again, to more digits."""
    if known.level > 0 or (isinstance(known.value, Fraction) and _rational(answer)):
        return
    if (more := _value(gold, points, number, 1)) is not None:
        yield from _compared(more, answer, points, number)


def _rational(tree: Tree) -> bool:
    """Whether a formula has rational values at rational points."""
    own = tree[0] in ("number", "+", "*", "/", "-", "%") or (tree[0] == "symbol" and tree[1] not in CONSTANTS)
    power = tree[0] == "^" and tree[2][0] == "number" and tree[2][1].denominator == 1
    return (own or power) and all(map(_rational, children(tree)))


def _value(tree: Tree, points: Points, number: int, least: int = 0, must: bool = False) -> _Known | None:
    """The value of a formula at a point, to the digits that it takes, from the `least` level on; None where there is
    none, or where it is unknown. If it `must` be known, that raises UnknownError."""
    for level in range(least, len(PRECISIONS)):
        try:
            calculator = _calculator(level).at(points, number)
            return _Known(calculator.value(tree), level, calculator.real)
        except UndefinedError:
            return None
        except UnknownError as error:
            unknown = error
    if must:
        raise unknown
    return None


_CONTEXT = MPContext()


def _alike(a: Value, b: Value) -> tuple[Value, Value]:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a, b
    return _inexact(a), _inexact(b)


def _inexact(value: Value) -> Value:
    return _CONTEXT.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _close(a: Value, b: Value, digits: int | None = None) -> bool:
    """Whether two values are equal: exactly for fractions, otherwise to three quarters of the digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = _inexact(a), _inexact(b)
    scale = max(_CONTEXT.mpf(1), abs(a), abs(b))
    return bool(abs(a - b) <= scale * _tolerance(digits or _CONTEXT.dps))


@lru_cache
def _tolerance(digits: int) -> Value:
    return _CONTEXT.mpf(10) ** (-3 * digits // 4)


@lru_cache
def _calculator(level: int) -> _Calculator:
    return _Calculator(*PRECISIONS[level])


class _Calculator:
    """Values of formulas, to a number of digits."""

    points: Points
    number: int  # of the point
    real: bool  # no value has been complex

    def __init__(self, digits: int, limit: int) -> None:
        self.digits = digits
        self.most, self.least = _CONTEXT.mpf(10) ** limit, _CONTEXT.mpf(10) ** -limit
        self._operations: dict[str, Callable[..., Value]] = {
            "-": operator.neg, "/": self._quotient, "^": self._power, "root": self._root,
            "%": lambda value: self._quotient(value, Fraction(100)),
            "degree": lambda value: self._checked(self._real(value) * _CONTEXT.pi / 180),
            "!": self._factorial, "binom": self._binomial,
        }  # fmt: skip

    def at(self, points: Points, number: int) -> _Calculator:
        """The same calculator, at a point."""
        _CONTEXT.dps, self.points, self.number, self.real = self.digits, points, number, True
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
        return _CONTEXT.mpc(0, 1) if name == "i" else self.points.coordinate(name, self.number)

    def _unknown_function(self, name: str, arguments: list[Value]) -> Value:
        """Some number, the same for equal arguments."""
        shown = [str(each) if isinstance(each, Fraction) else _CONTEXT.nstr(each, 40) for each in arguments]
        drawn = self.points.drawn(f"{self.number} {name} of {'; '.join(shown)}")
        return Fraction(1 + drawn % 4093, 1 + (drawn >> 32) % 4091)

    def _checked(self, value: Value) -> Value:
        """The value, if its size leaves enough digits for sums. Raises UnknownError or UndefinedError otherwise."""
        if isinstance(value, Fraction):
            if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
                raise UnknownError("too many digits")
            return value
        if isinstance(value, _CONTEXT.mpc) and not _close(value.imag, Fraction(0)):
            self.real = False
        size = abs(value)
        if not _CONTEXT.isfinite(size):
            raise UndefinedError("no number")
        if size > self.most or 0 < size < self.least:
            raise UnknownError("too large or too small")
        return value

    def _real(self, value: Value) -> Value:
        """A fraction as a number of the context."""
        if not isinstance(value, Fraction):
            return value
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * _CONTEXT.dps:
            raise UnknownError("more digits than are calculated with")
        return self._checked(_inexact(value))

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
        if abs(number) > (700 if name.endswith("h") else 10**9):
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
