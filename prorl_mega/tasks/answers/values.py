r"""Whether two formulas have the same value: both are calculated, exactly if all is rational, otherwise to many digits.

Formulas with variables are compared at the points of `points.py`, those at which the reference, the first of the two,
has a value. Where it has real values for real variables, only these count: \sqrt{x} says nothing about negative x.
Values that are not exact are compared twice, the second time with many more digits, so that 1 - 10^-200 is not 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, combinations
from typing import NamedTuple

from prorl_mega.tasks.answers.calculator import (
    CONTEXT,
    PRECISIONS,
    UndefinedError,
    UnknownError,
    Value,
    alike,
    calculator,
    close,
    inexact,
)
from prorl_mega.tasks.answers.operators import Tree, children
from prorl_mega.tasks.answers.points import Points
from prorl_mega.tasks.answers.tokens import CONSTANTS

_ANYWHERE: Tree = ("text", "any formula")
_SHOWN = 15  # digits of a value that is not exact, in a fingerprint

Pair = tuple[
    Value, Value, int
]  # the value of the reference, that of the answer, and the digits they were calculated to


def equal(gold: Tree, answer: Tree) -> bool:
    """Whether an answer has the value of a reference wherever that has one. Raises UnknownError."""
    pairs = chain(_pairs(gold, answer), _scanned(gold, answer))
    return all(pair is not None and close(*pair) for pair in pairs)


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
    value = inexact(value)
    if abs(CONTEXT.im(value)) <= abs(CONTEXT.re(value)) * CONTEXT.mpf(10) ** -_SHOWN:
        value = CONTEXT.re(value)
    return str(CONTEXT.nstr(value, _SHOWN))


def _constant(combine: Callable[[Value, Value], Value], gold: Tree, answer: Tree) -> bool:
    found: list[tuple[Value, int]] = []
    for pair in _pairs(gold, answer, confirmed=2):
        if pair is None:
            return False
        *both, digits = pair
        if combine is operator.truediv and any(close(value, Fraction(0), digits) for value in both):
            return False
        found.append((combine(*alike(*both)), digits))
    return all(close(one, other, min(digits, more)) for (one, digits), (other, more) in combinations(found, 2))


def symbols(tree: Tree) -> frozenset[str]:
    """Names of the variables and the unknown functions of a formula."""
    found, left = set(), [tree]
    while left:
        each = left.pop()
        if each[0] == "symbol" or each[0] == "apply":
            found.add(each[1])
        if each[0] not in ("symbol", "number"):
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


def _scanned(gold: Tree, answer: Tree) -> Iterator[Pair | None]:
    """The values of both where branches seem to keep them apart."""
    points = Points(gold, answer, symbols(gold) | symbols(answer))
    for number in points.scanned():
        reference = _value(gold, points, number)
        if reference is not None and reference.real:
            yield from _compared(reference, answer, points, number)


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
            at_point = calculator(level).at(points, number)
            return _Known(at_point.value(tree), level, at_point.real)
        except UndefinedError:
            return None
        except UnknownError as error:
            unknown = error
    if must:
        raise unknown
    return None
