"""What a kind of instruction consists of, and the rules for its parameters when they come from a file."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Constraint = dict[str, Any]  # one instruction of a prompt as plain data: {"kind": "words", "count": 4}
ParameterRule = Callable[[Any], Any]  # returns the value as it is used; ValueError says what it must be

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": operator.ge,
    "less than": operator.lt,
    "at most": operator.le,
    "more than": operator.gt,
    "exactly": operator.eq,
}
"""Comparisons of a count with a bound; IFEval has the first two."""


@dataclass(kw_only=True, slots=True, frozen=True)
class InstructionCheck:
    """One kind of instruction. `follows(text, **parameters)` is called for stripped text that is not blank.

    Kinds that can be generated have wordings, which are templates of the parameters, and values to draw these from.
    """

    follows: Callable[..., bool]
    parameters: dict[str, ParameterRule] = field(default_factory=dict)
    contradiction: Callable[..., str] = lambda **parameters: (
        ""
    )  # what is wrong with parameters together; empty: nothing
    full: str = ""  # a sentence, for models that read English
    short: str = ""  # a few characters, for tiny models trained from nothing
    drawn: dict[str, Sequence[Any]] = field(default_factory=dict)


def whole_number(least: int) -> ParameterRule:
    """An integer of at least `least`; data sets write some as 3.0."""

    def rule(value: Any) -> int:
        whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
        if isinstance(value, bool) or not (isinstance(value, int) or whole) or value < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return int(value)

    return rule


COUNT, POSITIVE = whole_number(0), whole_number(1)


def choice(values: Sequence[str]) -> ParameterRule:
    def rule(value: Any) -> str:
        if value not in values:
            raise ValueError(f"must be one of: {', '.join(values)}")
        return str(value)

    return rule


relation = choice(tuple(RELATIONS))


def phrase(value: Any) -> str:
    """Text that is not blank, without blanks at its ends."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text that is not blank")
    return value.strip()


def phrases(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of words or phrases")
    return [phrase(each) for each in value]


def single_word(value: Any) -> str:
    word = phrase(value)
    if len(word.split()) != 1:
        raise ValueError("must be one word")
    return word


def character(value: Any) -> str:
    if len(phrase(value)) != 1:
        raise ValueError("must be a single character")
    return phrase(value)
