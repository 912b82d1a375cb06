"""The points at which two formulas are compared.

They depend on both formulas, through a hash: whoever writes an answer would have to know its hash to make it agree at
them and nowhere else, and the same two formulas still meet at the same points always. Different rational functions
agree at such a point with negligible probability (Schwartz 1980, Zippel 1979). Formulas with jumps or branches, whose
differences may hide from a few points, are compared in every region: near zero, far beyond all their numbers, between.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction

from prorl_mega.tasks.answers.operators import Tree
from prorl_mega.tasks.answers.scan import proposed

_STEPS = re.compile("'floor'|'ceil'")
_BRANCHES = re.compile(  # in the text of a tree
    r"'(?:abs|floor|ceil|root|ln|log|arc[a-z]+)'|\('\^', .*Fraction\([0-9]+, (?!1\))[0-9]+\)|\('\^', .*'/'"
)
_WHOLE = re.compile(r"Fraction\(([0-9]+), 1\)")
_DIVISIBLE = 2520  # by every number up to ten: where a rounded quotient jumps
_FAR = 10**9  # no number of the formulas moves the far points beyond this


@dataclass(frozen=True, slots=True)
class Region:
    """Points that are alike: their signs and sizes."""

    signs: str  # "+": all coordinates are positive; "-": negative; "?": either; "+-" and "-+": they take turns, by name
    kind: str = (
        "near"  # near, exact (more digits), small (below one), among or far beyond the numbers, even (divisible)
    )


REGIONS = (
    Region("+", "exact"), Region("+-"), Region("-"), Region("-+"), Region("+", "small"), Region("-", "small"),
    Region("+", "far"), Region("-", "far"), Region("+-", "far"), Region("-+", "far"),
    Region("+", "among"), Region("-", "among"), *[Region("?")] * 6, *[Region("?", "any")] * 8,
    Region("+", "even"), Region("+", "whole"), Region("-", "whole"),
)  # fmt: skip

_STEPPED = len(REGIONS) - 3  # where the regions begin that only formulas with steps need


class Points:
    """The points of two formulas with these variables."""

    def __init__(self, a: Tree, b: Tree, names: frozenset[str]) -> None:
        self._text = f"{a}\n{b}"
        self._key = hashlib.blake2b(self._text.encode(errors="replace"), digest_size=32).digest()
        self._turn = {name: turn for turn, name in enumerate(sorted(names))}
        self._known: dict[tuple[str, int], Fraction] = {}
        self._trees, self._names = (a, b), names
        self.least = 3 if names else 1  # so many have to be defined
        pairs_of_signs = 4 if len(names) > 1 else self.least
        self.numbers = range(len(REGIONS) if _STEPS.search(self._text) else _STEPPED if names else 1)
        self.branches = _BRANCHES.search(self._text) is not None
        self.wanted = len(self.numbers) if self.branches else pairs_of_signs

    def coordinate(self, name: str, number: int) -> Fraction:
        """The value of a variable at a point."""
        if (name, number) not in self._known:
            self._known[name, number] = self._drawn_coordinate(name, number)
        return self._known[name, number]

    def scanned(self) -> range:
        """The numbers of points beyond the regions at which formulas with branches seem to differ."""
        if not self.branches or not self._names:
            return range(0)
        found = proposed(*self._trees, self._names, self.drawn("scan"))
        for number, coordinates in enumerate(found, start=len(REGIONS)):
            self._known.update({(name, number): value for name, value in coordinates.items()})
        return range(len(REGIONS), len(REGIONS) + len(found))

    def _drawn_coordinate(self, name: str, number: int) -> Fraction:
        region, drawn = REGIONS[number], self.drawn(f"{number} {name}")
        size = self._size(region.kind, drawn)
        sign = region.signs[self._turn.get(name, 0) % len(region.signs)]
        return -size if sign == "-" or (sign == "?" and drawn % 2) else size

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
        if kind == "among":
            return size * self._reach() / 3
        if kind == "any":
            return size * Fraction(2) ** (drawn // 64 % 18 - 6)
        return size * self._reach() * (4 + above % 29) if kind == "far" else size

    def _reach(self) -> int:
        """A number beyond those of the formulas."""
        return 2 + max((min(_FAR, int(each)) for each in _WHOLE.findall(self._text)), default=0)

    def hard(self, number: int) -> bool:
        """Whether a value may be too large to be known at a point."""
        return number >= len(REGIONS) or REGIONS[number].kind in ("far", "any", "even")

    def drawn(self, what: str) -> int:
        """A number of 64 bits that is always the same for these formulas and this text."""
        return int.from_bytes(hashlib.blake2b(what.encode(errors="replace"), key=self._key, digest_size=8).digest())
