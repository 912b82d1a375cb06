"""The operators of a formula from the loosest to the tightest: lists, relations, sums, products, powers.

Trees are as in `formula.py`, which reads the parts themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any

from prorl_mega.tasks.answers import application
from prorl_mega.tasks.answers.tokens import ENDS, RELATIONS, Cursor, UnreadableError

Tree = tuple[Any, ...]

MAX_DEPTH = 24


def children(tree: Tree) -> list[Tree]:
    """The trees that a tree is made of."""
    found: list[Tree] = []
    for part in tree:
        if isinstance(part, tuple):
            found.append(part)
        elif isinstance(part, list):
            found += [each for each in part if isinstance(each, tuple)]
    return found


class Operators(Cursor, ABC):
    """Recursive descent; every method leaves `place` behind what it has read."""

    @abstractmethod
    def atom(self) -> Tree:
        """A part: a number, a symbol, a call, something in brackets."""

    @abstractmethod
    def superscript(self, name: str) -> Tree | None:
        """The function or derivative that a letter with an exponent is; None where it is a power."""

    @abstractmethod
    def braced(self) -> Tree:
        """A group in braces."""

    def listing(self) -> Tree:
        items, either = [self.relation()], False
        while True:
            separated = self.take(",") or self.take(";")
            if self.take("\x02or\x03") or self.take(r"\lor"):
                either = True
            elif not (self.take("\x02and\x03") or self.take(r"\land") or separated):
                break
            items.append(self.relation())
        return items[0] if len(items) == 1 else ("either" if either else "list", items)

    def relation(self) -> Tree:
        sides, operators = [self.union()], []
        while sign := self.take_any(*RELATIONS, "<=", ">=", "!="):
            operators.append(RELATIONS.get(sign, sign))
            sides.append(self.union())
        if operators:
            return ("relation", operators, sides)
        if divided := self.take_any(r"\over", r"\choose"):  # of TeX, which take all of their group
            below = self.union()
            return ("binom", sides[0], below) if divided == r"\choose" else application.quotient(sides[0], below)
        if self.take(r"\in"):
            return ("in", sides[0], self.union())
        return sides[0]

    def union(self) -> Tree:
        parts = [self.sum()]
        while self.take(r"\cup"):
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else ("union", parts)

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError("nested too deeply")
        leads = self.take_any(r"\pm", "+-")
        terms: list[Tree] = [("pm", ("number", Fraction(0)), self.product()) if leads else self.signed()]
        while sign := self.take_any("+", "-", r"\pm", r"\mp"):
            if sign == "+":
                terms.append(self.signed())
            elif sign == "-":
                terms.append(("-", self.signed()))
            else:
                before = terms[0] if len(terms) == 1 else ("+", terms)
                terms = [("pm" if sign == r"\pm" else "mp", before, self.product())]
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("+", terms)

    def signed(self) -> Tree:
        if self.take_any("-", "+") != "-":
            return self.product()
        if self.peek() in ("-", "+"):
            raise UnreadableError("two signs in a row")
        return ("-", self.product())

    def product(self) -> Tree:
        value = self.power()
        while True:
            if self.take_any("*", r"\cdot", r"\times"):
                value = ("*", [value, self.factor()])
            elif self.take_any("/", r"\div"):
                below = self.factor()
                if (
                    below == ("symbol", "d")
                    and application.differential(value)
                    and self.kind() in ("letter", "command")
                ):
                    below = ("*", [below, self.power()])  # dx/dt, as typed
                value = application.quotient(value, below)
            elif self.starts():
                value = self.beside(value)
            else:
                return value

    def factor(self) -> Tree:
        """A factor after an explicit operator, which may have a sign: 2*-3."""
        return ("-", self.power()) if self.take("-") else self.power()

    def beside(self, left: Tree) -> Tree:
        """The tree of two parts side by side: a product, or a mixed number."""
        kind = self.kind()
        if kind in ("number", "thousands", "repeating"):
            raise UnreadableError("a number behind something else without a sign")
        if kind == "text":
            raise UnreadableError("words in a formula")
        right = self.power()
        if left[0] == "number" and right[0] == "/":
            above, below = right[1], right[2]
            if above[0] == below[0] == "number":
                whole = left[1].denominator == above[1].denominator == below[1].denominator == 1
                if not whole or not 0 < above[1] < below[1]:
                    raise UnreadableError("neither a mixed number nor a clear product")
                return ("number", left[1] + above[1] / below[1])
        return ("*", [left, right])

    def starts(self) -> bool:
        """Whether something begins here that can stand beside what was read."""
        kind, token = self.tokens[self.place] if self.place < len(self.tokens) else ("", "")
        if kind in ("number", "thousands", "repeating", "letter", "word"):
            return True
        if kind == "text":
            return token not in ("\x02and\x03", "\x02or\x03")
        if kind == "command":
            return token not in RELATIONS and token not in ENDS and not token.startswith(r"\endmatrix")
        return token in ("(", "[", "{") or (token == "|" and not self.bars)

    def power(self) -> Tree:
        value = self.postfix(self.atom())
        if not self.take("^"):
            return value
        if self.take(r"\circ") or self.take_all("{", r"\circ", "}"):
            return ("degree", value)
        if value[0] == "symbol" and (function := self.superscript(value[1])):
            return self.postfix(function)
        exponent = self.exponent()
        return self.postfix(("^", value, exponent))  # and no second one: towers are read in two ways

    def exponent(self) -> Tree:
        if self.peek() == "{":
            return self.braced()
        if self.take("-"):
            return ("-", self.atom())
        kind, token = self.kind(), self.peek()
        if kind == "number" and len(token) > 1 and self.place and self.tokens[self.place - 1][1] == "^":
            # Typed by hand, 2^10 is a power of ten; in LaTeX it is 2^1 followed by a zero.
            self.place += 1
            return ("number", Fraction(token))
        return self.atom()

    def postfix(self, value: Tree) -> Tree:
        while True:
            if self.take("!"):
                if self.peek() == "!":
                    raise UnreadableError("twice a factorial, or a double one?")
                value = ("!", value)
            elif self.take_any("%", r"\%"):
                value = ("%", value)
            else:
                return value
