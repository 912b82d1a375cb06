r"""A reader that turns an answer, in LaTeX or as typed on a keyboard, into a tree in linear time and bounded depth.

A tree is a tuple whose first item is its kind:

    ("number", Fraction)  ("symbol", name)  ("text", words)  ("infinity",)  ("name", set such as R)
    ("+", [terms])  ("*", [factors])  ("/", a, b)  ("^", a, b)  ("-", a)  ("pm", a, b): a plus or minus b
    ("call", function, argument)  ("apply", unknown function, [arguments])  ("log", base, argument)
    ("root", n, argument)  ("binom", n, k)  ("!", a)  ("%", a)  ("degree", a)  ("based", digits, base)
    ("tuple", opening, items, closing)  ("set", items)  ("list", items)  ("matrix", rows)  ("union", items)
    ("either", items): a list with "or"
    ("relation", [operators], [sides])  ("in", a, b)

The reader raises `UnreadableError` for what it does not understand and for what can be read in two ways.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prorl_mega.tasks.answers import application
from prorl_mega.tasks.answers.operators import Operators, Tree
from prorl_mega.tasks.answers.tokens import (
    CONSTANTS,
    FUNCTIONS,
    GREEK,
    MAX_TOKENS,
    Token,
    UnreadableError,
    repeating,
    tokens,
)


def read(text: str) -> Tree:
    """The tree of an answer. Raises UnreadableError."""
    found = tokens(text)
    if not found or len(found) > MAX_TOKENS:
        raise UnreadableError("empty, or too long")
    reader = _Reader(found)
    tree = reader.listing()
    if reader.place < len(found):
        raise UnreadableError(f"unexpected {found[reader.place][1]!r}")
    return tree


class _Reader(Operators):
    """The parts of a formula."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.functions = application.functions(tokens)

    def braced(self) -> Tree:
        self.need("{")
        value = self.relation()
        self.need("}")
        return value

    def argument(self) -> Tree:
        """The argument of \\frac or \\sqrt: a group, or one digit or letter."""
        if self.peek() == "{":
            return self.braced()
        kind, token = self.kind(), self.peek()
        if kind == "number" and token.isdigit() and len(token) > 1:  # \frac12
            self.tokens[self.place : self.place + 1] = [("number", digit) for digit in token]
        return self.atom()

    def atom(self) -> Tree:
        if self.place >= len(self.tokens):
            raise UnreadableError("something is missing at the end")
        kind, token = self.tokens[self.place]
        self.place += 1
        if kind in ("number", "thousands"):
            return self._number(token)
        if kind == "repeating":
            return ("number", repeating(token))
        if kind == "letter":
            return self._symbol(token)
        if kind == "text":  # one atom; a single letter in it is a symbol
            return self._symbol(token[1:-1]) if re.fullmatch(r"[A-Za-z]", token[1:-1]) else ("text", token[1:-1])
        if kind == "word":
            return self._command("\\" + token)
        if kind == "command":
            return self._command(token)
        if token in ("(", "["):
            return self._bracket(token)
        if token == "{":
            if self.kind() == "thousands" and self.tokens[self.place + 1 : self.place + 2] == [("sign", "}")]:
                self.place -= 1
                return self.braced()
            items, _ = self._items(("}",))
            return items[0] if len(items) == 1 else ("set", items)  # {1, 2}, of which the backslashes are missing
        if token == "|":
            self.bars += 1
            inside = self._between("abs", "|")
            self.bars -= 1
            return inside
        raise UnreadableError(f"unexpected {token!r}")

    def _number(self, token: str) -> Tree:
        if self.take("_"):
            base = self.exponent() if self.peek() == "{" else self.atom()
            return ("based", token, base)
        if len(token) > 320:
            raise UnreadableError("a number of more digits than any answer has")
        return ("number", Fraction(re.sub(r"[{},]", "", token)))

    def _symbol(self, name: str) -> Tree:
        if self.take("_"):
            index = [token for _, token in self.index()]
            name = f"{name}_{''.join(index)}"
        while self.take("'"):
            name += "'"
        return self.application(name) if self.applies(name) else ("symbol", name)

    def applies(self, name: str) -> bool:
        """Whether a letter is applied to the brackets that begin here."""
        if self.peek() != "(" or name in CONSTANTS:
            return False
        return name.rstrip("'") in self.functions or application.holds_argument(self.tokens, self.place)

    def application(self, name: str) -> Tree:
        self.need("(")
        return ("apply", name, self._items((")",))[0])

    def superscript(self, name: str) -> Tree | None:
        r"""The function that f^{-1}(x), f^2(x) or y^{(4)} is; None where a letter with an exponent is a power."""
        start, ahead = self.place, [token for _, token in self.tokens[self.place : self.place + 5]]
        if ahead[:2] == ["{", "("] and ahead[3:] == [")", "}"]:
            self.place += 5
            name = f"{name}^({ahead[2]})"
            return self.application(name) if self.applies(name) else ("symbol", name)
        exponent = self.exponent()
        inverse = exponent == ("-", ("number", Fraction(1)))
        if (inverse or name.rstrip("'") in self.functions) and self.applies(name):
            return self.application(f"{name}^{exponent}")
        self.place = start
        return None

    def _bracket(self, opening: str) -> Tree:
        items, closing = self._items((")", "]"))
        if len(items) == 1 and opening == "(" and closing == ")":
            digits = self.tokens[self.place - 2][1] if self.peek() == "_" and items[0][0] == "number" else ""
            return self._number(digits) if digits.isdigit() else items[0]
        return ("tuple", opening, items, closing)

    def _items(self, closings: tuple[str, ...]) -> tuple[list[Tree], str]:
        bars, self.bars = self.bars, 0
        self.split_thousands(closings)
        items = [self.relation()]
        while self.take(",") or self.take(";"):
            items.append(self.relation())
        closing = self.take_any(*closings)
        if not closing:
            raise UnreadableError(f"{closings[0]!r} is missing")
        self.bars = bars
        return items, closing

    def _command(self, token: str) -> Tree:
        name = token[1:]
        if name == "frac":
            return application.quotient(self.argument(), self.argument())
        if name == "sqrt":
            return self._root()
        if name == "binom":
            return ("binom", self.argument(), self.argument())
        if name == "log":
            base = self.argument() if self.take("_") else None
            return ("log", base, self._applied(name)) if base else self._function(name)
        if name == "exp":
            return ("^", ("symbol", "e"), self._applied(name))
        if name in FUNCTIONS:
            return self._function(name)
        if name == "{":
            if name := self._member():
                start, condition = self.place, self.listing()
                if ("letter", name) not in self.tokens[start : self.place]:
                    raise UnreadableError("a set without a condition")
                self.need(r"\}")
                return condition
            return ("set", [] if self.take(r"\}") else self._items((r"\}",))[0])
        if name == "langle":
            return ("tuple", "(", self._items((r"\rangle",))[0], ")")
        if name in ("lfloor", "lceil"):
            return self._between(name[1:], rf"\r{name[1:]}")
        if name in ("|", "lvert"):
            return self._between("abs", r"\|" if name == "|" else r"\rvert")
        if name.startswith("matrix"):
            return self._matrix(name.removeprefix("matrix"))
        if name in ("infty", "emptyset", "varnothing"):
            return ("infinity",) if name == "infty" else ("set", [])
        if name in ("mathbb", "mathcal"):
            return ("name", self.braced()[1])
        if name == "boxed":
            return self.braced()
        if name in GREEK:
            return self._symbol(name)
        raise UnreadableError(f"unknown \\{name}")

    def _member(self) -> str:
        r"""The letter of the real numbers that `{x | x > 3}` holds; it is passed then. Empty for other sets."""
        ahead = [token for _, token in self.tokens[self.place : self.place + 7]]
        length = 6 if ahead[1:6] == [r"\in", r"\mathbb", "{", "R", "}"] else 1
        if len(ahead) <= length or ahead[length] not in ("|", r"\mid", ":") or self.kind() != "letter":
            return ""
        self.place += length + 1
        return ahead[0]

    def _between(self, function: str, closing: str) -> Tree:
        """The call of a function that is written as a pair of signs around its argument."""
        inside = self.sum()
        self.need(closing)
        return ("call", function, inside)

    def _root(self) -> Tree:
        degree: Tree = ("number", Fraction(2))
        if self.take("["):
            degree = self.sum()
            self.need("]")
        return ("root", degree, self._between("", ")")[2] if self.take("(") else self.argument())

    def _function(self, name: str) -> Tree:
        exponent = self.exponent() if self.take("^") else None
        if exponent == ("-", ("number", Fraction(1))):
            if name not in ("sin", "cos", "tan"):
                raise UnreadableError("an inverse, or a reciprocal?")
            name, exponent = f"arc{name}", None
        value: Tree = ("call", name, self._applied(name))
        return value if exponent is None else ("^", value, exponent)

    def _applied(self, name: str) -> Tree:
        """The argument of a function, as in sin(x+1) and sin 2x; an explicit sign or another function ends it."""
        if self.take("("):
            items, _ = self._items((")",))
            if len(items) == 1 and self.peek() == "^":
                raise UnreadableError("power of the argument, or of the function?")
            return items[0] if len(items) == 1 else ("list", items)
        sign = self.take("-")
        value = self.power()
        while self.starts() and self.kind() in ("letter", "command") and self.peek()[1:] not in {*FUNCTIONS, "log"}:
            value = ("*", [value, self.power()])
        return ("-", value) if sign else value

    def _matrix(self, style: str) -> Tree:
        rows: list[list[Tree]] = [[]]
        while True:
            rows[-1].append(self.relation())
            if self.take("&"):
                continue
            if self.take("\x05") and not self.peek().startswith(r"\endmatrix"):
                rows.append([])
                continue
            self.need(rf"\endmatrix{style}")
            break
        if style in ("v", "V", "cases", "array") or len({len(row) for row in rows}) != 1:
            raise UnreadableError("no plain matrix")
        return ("matrix", rows)
