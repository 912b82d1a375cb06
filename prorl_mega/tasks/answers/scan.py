r"""Points at which two formulas may differ, found by calculating both in floating point at many points at once.

The few points of `points.py` miss a difference that shows in a small part of a region only, such as the sign of
\ln(y/10+2), which is negative just below y = -10. Floating point proves nothing: `values` decides at the points that
are proposed here.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorl_mega.tasks.answers.operators import Tree

COUNT = 1400  # points at which both are calculated
PROPOSED = 8
_APART = 1e-6  # relative difference that rounding does not explain, as a rule
_BITS = 4096  # values of variables have twelve bits, so that their powers stay short
_NEAREST = 14  # powers of two by which values that are nearly whole are off at least

Numbers: TypeAlias = NDArray[np.float64]

_FUNCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "abs": np.abs, "floor": np.floor, "ceil": np.ceil, "ln": np.log, "log": np.log10, "exp": np.exp,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "cot": lambda x: 1 / np.tan(x), "sec": lambda x: 1 / np.cos(x), "csc": lambda x: 1 / np.sin(x),
}  # fmt: skip


class _UnknownError(ValueError):
    """The formula has a part that is not calculated here."""


def proposed(gold: Tree, answer: Tree, names: frozenset[str], seed: int) -> list[dict[str, Fraction]]:
    """Coordinates of some points at which real values of both seem to differ; none where they cannot be calculated."""
    at = _points(sorted(names), np.random.default_rng(seed))
    with np.errstate(all="ignore"):
        try:
            both = [np.broadcast_to(_values(tree, at), (COUNT,)) for tree in (gold, answer)]
        except (_UnknownError, OverflowError):
            return []
        apart = np.abs(both[0] - both[1]) / np.maximum(np.maximum(*map(np.abs, both)), 1e-12)
    different = np.flatnonzero(apart > _APART)  # and no NaN
    sizes = np.max([np.abs(values) for values in at.values()], axis=0)[different]
    nearest = different[np.argsort(sizes)][: PROPOSED // 2]  # far ones may have values that are too large
    spread = different[:: max(1, len(different) // (PROPOSED // 2))][: PROPOSED // 2]
    return [{name: Fraction(float(at[name][place])) for name in at} for place in dict.fromkeys([*nearest, *spread])]


def constant(tree: Tree) -> float | None:
    """The value of a formula without variables; None where it has none, or none that is calculated here."""
    with np.errstate(all="ignore"):
        try:
            value = float(_values(tree, {}))
        except (_UnknownError, OverflowError):
            return None
    return value if np.isfinite(value) else None


def _points(names: list[str], random: np.random.Generator) -> dict[str, Numbers]:
    """Values of the variables: some small, some large, some whole or nearly so, of both signs."""
    shape = (len(names), COUNT)
    kinds = random.integers(0, 7, COUNT)
    sizes = np.choose(
        np.minimum(kinds, 5),
        [10 ** random.uniform(-2, 1, shape), random.uniform(0, 30, shape), random.uniform(0, 5000, shape),
         10 ** random.uniform(0, 6, shape), random.integers(1, 33, shape),
         random.integers(1, 300, shape)],
    )  # fmt: skip
    mantissas, exponents = np.frexp(sizes)
    rounded = np.ldexp(np.round(mantissas * _BITS) / _BITS, exponents)
    beside = np.ldexp(random.choice((-1.0, 1.0), shape), random.integers(-_NEAREST, 0, shape))
    rounded = np.where(kinds == 6, rounded + beside, rounded) * random.choice((-1, 1), shape)
    return dict(zip(names, rounded, strict=True))


def _values(tree: Tree, at: dict[str, Numbers]) -> Numbers:
    """The values of a formula at all points; NaN where it has no real one."""
    kind, *parts = tree
    if kind == "number":
        return np.asarray(float(parts[0]))
    if kind == "symbol":
        return _symbol(parts[0], at)
    if kind == "call":
        return _function(parts[0])(_values(parts[1], at))
    if kind in ("+", "*"):
        terms = [_values(part, at) for part in parts[0]]
        return sum(terms[1:], terms[0]) if kind == "+" else np.prod(np.broadcast_arrays(*terms), axis=0)
    if kind not in ("-", "/", "^", "root", "log", "%"):
        raise _UnknownError(kind)
    first, *second = [_values(part, at) for part in parts]
    if kind == "-":
        return -first
    if kind == "%":
        return first / 100
    if kind == "/":
        return first / second[0]
    if kind == "^":
        return np.power(first, second[0])
    if kind == "log":
        return np.log(second[0]) / np.log(first)
    return np.where(
        (first % 2 == 1) & (second[0] < 0), -np.power(-second[0], 1 / first), np.power(second[0], 1 / first)
    )


def _symbol(name: str, at: dict[str, Numbers]) -> Numbers:
    if name in ("pi", "e"):
        return np.asarray(np.pi if name == "pi" else np.e)
    if name not in at:  # the imaginary unit
        raise _UnknownError(name)
    return at[name]


def _function(name: str) -> Callable[[Numbers], Numbers]:
    if name not in _FUNCTIONS:
        raise _UnknownError(name)
    return _FUNCTIONS[name]
