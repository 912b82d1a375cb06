"""The points at which two formulas are compared.

They depend on both formulas, through a hash: whoever writes an answer would have to know its hash to make it agree at
them and nowhere else, and the same two formulas still meet at the same points always. Different rational functions
agree at such a point with negligible probability (Schwartz 1980, Zippel 1979). Formulas with jumps, whose differences
may hide from a few points, are compared in every domain: near zero, beyond all their numbers, at whole numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

from prorl_mega.tasks.answers.operators import Tree, children

_JUMPS = frozenset(("abs", "floor", "ceil"))
_DIVISIBLE = 2520  # by every number up to ten: where a rounded quotient jumps
_FAR = 10**9  # no number of the formulas moves the far points beyond this


@dataclass(frozen=True, slots=True)
class Region:
    """Points that are alike: their signs and sizes."""

    signs: str  # "+": all coordinates are positive; "-": negative; "+-" and "-+": they take turns, by name
    kind: str = "near"  # near, exact (near, with more digits), small (below one), far, even (divisible), whole


REGIONS = (
    Region("+", "exact"), Region("+-"), Region("-"), Region("-+"), Region("+", "small"), Region("-", "small"),
    Region("+", "far"), Region("-", "far"), Region("+", "even"), Region("+", "whole"), Region("-", "whole"),
)  # fmt: skip


class Points:
    """The points of two formulas with these variables."""

    def __init__(self, a: Tree, b: Tree, names: frozenset[str]) -> None:
        self._key = hashlib.blake2b(f"{a}\n{b}".encode(errors="replace"), digest_size=32).digest()
        self._turn = {name: turn for turn, name in enumerate(sorted(names))}
        self._reach = min(_FAR, 2 + max(_reach(a), _reach(b)))
        self.least = (1, 3, 4)[
            min(len(names), 2)
        ]  # that have to be defined; pairs of variables have four pairs of signs
        self.wanted = len(REGIONS) if _jumps(a) or _jumps(b) else self.least

    def coordinate(self, name: str, number: int) -> Fraction:
        """The value of a variable at a point."""
        domain = REGIONS[number]
        size = self._size(domain.kind, self.drawn(f"{number} {name}"))
        sign = domain.signs[self._turn.get(name, 0) % len(domain.signs)]
        return size if sign == "+" else -size

    def _size(self, kind: str, drawn: int) -> Fraction:
        above, below = drawn & 0xFFFFFFFF, drawn >> 32
        if kind == "exact":
            return Fraction(2**31 + above, 2**30 + below % 2**30)
        if kind == "even":
            return Fraction(_DIVISIBLE * (1 + above % 40))
        if kind == "whole":
            return Fraction(2 + above % 97)
        size = Fraction(1009 + 2 * (above % 1500), 1024 + 2 * (below % 500) - 1)
        if kind == "small":
            return 1 / (1 + size)
        return size * self._reach * (4 + above % 29) if kind == "far" else size

    def drawn(self, what: str) -> int:
        """A number of 64 bits that is always the same for these formulas and this text."""
        return int.from_bytes(hashlib.blake2b(what.encode(errors="replace"), key=self._key, digest_size=8).digest())


def _jumps(tree: Tree) -> bool:
    return (tree[0] == "call" and tree[1] in _JUMPS) or any(map(_jumps, children(tree)))


def _reach(tree: Tree) -> int:
    """The largest number of a formula, rounded down."""
    own = int(abs(tree[1])) if tree[0] == "number" else 0
    return max([own, *map(_reach, children(tree))])
