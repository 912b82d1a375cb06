r"""Notation that looks like a product and is none: f(0), f^{-1}(x), y^{(4)}, dx/dt.

A letter is applied, and not multiplied, when brackets behind it hold what nobody puts in brackets in a product: one
number, one letter, or several items. It is then a function wherever it stands before a bracket in the same formula.
Such functions are unknown: their values are equal where their arguments are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prorl_mega.tasks.answers.tokens import CONSTANTS, GREEK, Token

if TYPE_CHECKING:
    from prorl_mega.tasks.answers.operators import Tree

_ALWAYS = "f"


def functions(tokens: list[Token]) -> frozenset[str]:
    """The letters that a formula applies somewhere."""
    found = {_ALWAYS}
    for place, token in enumerate(tokens):
        if (name := letter(token)) and name not in CONSTANTS:
            place += 1
            while place < len(tokens) and tokens[place][1] == "'":
                place += 1
            if holds_argument(tokens, place):
                found.add(name)
    return frozenset(found)


def letter(token: Token) -> str:
    """The name of a letter, Latin or Greek; empty for other tokens."""
    kind, text = token
    if kind == "letter":
        return text
    return text[1:] if kind == "command" and text[1:] in GREEK else ""


def holds_argument(tokens: list[Token], place: int) -> bool:
    """Whether brackets begin at a place and hold one number or letter, which may have a sign, or several items."""
    if place >= len(tokens) or tokens[place][1] != "(":
        return False
    inside, depth = [], 0
    for token in tokens[place:]:
        depth += (token[1] in ("(", "[", "{")) - (token[1] in (")", "]", "}"))
        if depth == 0:
            break
        inside.append(token)
        if depth == 1 and token[1] == ",":
            return True
    inside = inside[1:]
    if inside and inside[0][1] in ("-", "+"):
        inside = inside[1:]
    if not inside or not (inside[0][0] in ("number", "text") or inside[0][1] == r"\infty" or letter(inside[0])):
        return False
    return len(inside) == 1 or inside[1][1] in ("_", "'")


def quotient(above: Tree, below: Tree) -> Tree:
    """A fraction, or the derivative that it is: dx/dt is no quotient of products."""
    over, under = factors(above), factors(below)
    place = next((place for place, factor in enumerate(over) if _differential(factor)), None)
    if place is None or len(under) != 2 or under[0] != ("symbol", "d"):
        return ("/", above, below)
    rest = over[place + 1 :]
    derivative: Tree = ("apply", f"{over[place]} by {under[1]}", [("*", rest)] if rest else [])
    return ("*", [*over[:place], derivative]) if place else derivative


def differential(tree: Tree) -> bool:
    """Whether a product has a factor d, as the dx of dx/dt has."""
    return any(map(_differential, factors(tree)))


def factors(tree: Tree) -> list[Tree]:
    """The factors of a product from left to right."""
    return [each for factor in tree[1] for each in factors(factor)] if tree[0] == "*" else [tree]


def _differential(tree: Tree) -> bool:
    return tree == ("symbol", "d") or (tree[0] == "^" and tree[1] == ("symbol", "d"))
