"""What an instruction with parameters is, and the checks of parameters that come from a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Constraint = dict[str, Any]  # {"kind": "punctuation:no_comma", ...parameters}
Rule = Callable[[Any], Any]  # the value of a parameter as it is used; ValueError says what it must be

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda count, bound: count >= bound,
    "less than": lambda count, bound: count < bound,
    "at most": lambda count, bound: count <= bound,
    "more than": lambda count, bound: count > bound,
    "exactly": lambda count, bound: count == bound,
}
"""IFEval has the first two."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Requirement:
    """`holds(text, constraint)` for a stripped text that is not blank; `parameters` by their published names.

    `consistent` raises ValueError when parameters contradict each other.
    """

    holds: Callable[[str, Constraint], bool]
    parameters: dict[str, Rule] = field(default_factory=dict)
    consistent: Callable[[Constraint], None] = lambda constraint: None

    def check(self, constraint: Constraint) -> Constraint:
        """The constraint with the values in use. Parameters without a value (null) do not count as given.

        Raises ValueError for a missing, unknown or wrong parameter.
        """
        kind = constraint["kind"]
        given = {name: value for name, value in constraint.items() if name != "kind" and value is not None}
        for name in given:
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise ValueError(f"{kind}: has no parameter {name!r}; it has: {known}")
        checked: Constraint = {"kind": kind}
        for name, rule in self.parameters.items():
            if name not in given:
                raise ValueError(f"{kind}: parameter {name!r} is missing")
            try:
                checked[name] = rule(given[name])
            except ValueError as error:
                raise ValueError(f"{kind}: {name}={given[name]!r:.80} {error}") from None
        self.consistent(checked)
        return checked


def compare(count: int, relation: str, bound: int) -> bool:
    return RELATIONS[relation](count, bound)


def whole_number(least: int) -> Rule:
    """An integer of at least `least`; data sets write some as 3.0."""

    def rule(value: Any) -> int:
        whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
        if isinstance(value, bool) or not (isinstance(value, int) or whole) or value < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return int(value)

    return rule


def relation(value: Any) -> str:
    if value not in RELATIONS:
        raise ValueError(f"must be one of: {', '.join(RELATIONS)}")
    return str(value)


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


def choice(values: tuple[str, ...]) -> Rule:
    def rule(value: Any) -> str:
        if value not in values:
            raise ValueError(f"must be one of: {', '.join(values)}")
        return str(value)

    return rule
