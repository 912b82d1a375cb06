"""Rules for the parameters of instructions in files: each returns the value as it is used, or raises ValueError."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

ParameterRule = Callable[[Any], Any]  # raises ValueError


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
