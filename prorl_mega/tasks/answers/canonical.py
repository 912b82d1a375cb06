r"""Answers in a form that equal answers share, for majority votes: 0.5, \frac12 and 3/6 are all `1/2`.

It is found without a reference, so it can be no judgement: answers that are equal only where a reference says so (5 and
5 cm, 33 % and 1/3 rounded) stay apart, which splits votes. Different answers are joined where they differ in no value:
in the name of what is solved for (x = 4, y = 4), or by less than 15 digits of a value that is not exact.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

from prorl_mega.tasks.answers import approximation, chain, comparison, units, values
from prorl_mega.tasks.answers.calculator import UndefinedError, UnknownError
from prorl_mega.tasks.answers.equivalence import Meaning, is_counted, meaning, written_out
from prorl_mega.tasks.answers.literal import MAX_LENGTH
from prorl_mega.tasks.answers.operators import Tree
from prorl_mega.tasks.answers.plain import spelt
from prorl_mega.tasks.answers.quantities import Quantity

MAX_NAME = 128  # characters

_MANY = ("list", "either", "set")
_SOLVED = ("symbol", "apply")


def mathematical(answers: list[str]) -> str:
    """The canonical form of the answers of a final statement, as mathematics; "" for none."""
    return bounded("; ".join(sorted({_mathematical(each) for each in answers})))


def measured(found: Quantity) -> str:
    """The canonical form of a quantity: in SI units."""
    if found.unit is None:
        return str(found.value)
    return bounded(f"{found.value * found.unit.factor + found.unit.offset} {_dimension(found.unit)}".strip())


def textual(answer: str) -> str:
    """The canonical form of a text in which only blanks may differ."""
    return bounded(" ".join(answer.split()))


def bounded(name: str) -> str:
    """The name, or the beginning of a long one and a digest of all of it."""
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"{name[: MAX_NAME - len(digest) - 1]}…{digest}"


def _mathematical(answer: str) -> str:
    answer = answer.strip()
    if not answer or len(answer) > MAX_LENGTH:
        return answer
    if written_out(answer) != answer:  # a number or Euler's, as the reference is written
        return spelt(answer.lower())
    if not approximation.holds(answer):  # sqrt(2) = 99, said in another way
        return spelt(answer)
    found = meaning(chain.value(answer))
    if found.number is not None:
        return _with_unit(found, found.number)
    if found.words is not None:
        return found.words
    if found.tree is None:
        return spelt(found.text)
    try:
        unit = "" if found.unit in ("", "%") else f" [{found.unit}]"
        return f"{_named(comparison.normal(found.tree))}{unit}"
    except (UnknownError, UndefinedError, RecursionError):
        return spelt(found.text)


def _with_unit(found: Meaning, value: Fraction) -> str:
    if not found.unit or found.unit == "%" or is_counted(found.unit):
        return f"{value}{found.unit if found.unit == '%' else ''}"
    known = units.unit(found.unit)
    if known is None:
        return f"{value} {found.unit}"
    return f"{value * known.factor + known.offset} {_dimension(known)}".strip()


def _dimension(unit: units.Unit) -> str:
    """The dimension of a unit, and what it measures: "m2 s-1"."""
    powers = zip(("m", "kg", "s", "A", "K", "mol", "cd"), unit.dimensions, strict=True)
    return " ".join(f"{name}{power}" for name, power in (*powers, *unit.kinds) if power)


def _named(tree: Tree) -> str:
    """A tree as text: formulas by their values, lists and sets without an order."""
    kind = tree[0]
    if kind in _MANY:
        return f"{{{'; '.join(sorted(map(_named, tree[1])))}}}"
    if kind == "tuple":
        return f"{tree[1]}{'; '.join(map(_named, tree[2]))}{tree[3]}"
    if kind == "interval":
        return f"{tree[2]}{_named(tree[3])}; {_named(tree[4])}{tree[5]}"
    if kind == "union":
        return " U ".join(sorted(map(_named, tree[1])))
    if kind == "matrix":
        return f"[{' | '.join('; '.join(map(_named, row)) for row in tree[1])}]"
    if kind == "relation":
        operators, sides = tree[1], tree[2]
        if operators == ["="] and sides[0][0] in _SOLVED:
            return f"{sides[0][1]} = {_named(sides[1])}"
        return f"{_named(sides[0])}" + "".join(
            f" {operator} {_named(side)}" for operator, side in zip(operators, sides[1:], strict=True)
        )
    if kind == "degree":
        return _named(tree[1])
    if kind in ("infinity", "name", "text", "based", "in"):
        return " ".join(map(str, tree))
    if kind == "-" and tree[1] == ("infinity",):
        return "-infinity"
    names = sorted(values.symbols(tree))
    found = ", ".join(values.fingerprint(tree))
    if names:
        return f"{found} for {', '.join(names)}"
    is_rational = not re.search("[.?j]", found)
    is_done = comparison.literal(tree) if is_rational else not comparison.calculates(tree)
    return found if is_done else f"{found} (a calculation)"  # 37 + 45 does not answer what 82 answers
