"""The parts of a kind of instruction."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prorl_mega.tasks.instruction.parameter_rules import COUNT, ParameterRule, choice

Constraint = dict[str, Any]  # one instruction of a prompt as plain data: {"kind": "words", "count": 4}

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


def check(follows: Callable[..., bool], **parameters: ParameterRule) -> InstructionCheck:
    return InstructionCheck(follows=follows, parameters=parameters)


def counted(
    count: Callable[..., int | tuple[int, ...]], bound: str, relation: str = "relation", **parameters: ParameterRule
) -> InstructionCheck:
    """The kind that compares `count(text, **parameters)` with a bound; it gives the names of bound and relation.

    Where readers count differently, the counts are several, and the relation has to hold for each.
    """

    def follows(text: str, **given: Any) -> bool:
        compare, limit = RELATIONS[given.pop(relation)], given.pop(bound)
        found = count(text, **given)
        return all(compare(each, limit) for each in (found if isinstance(found, tuple) else (found,)))

    return check(follows, **parameters, **{bound: COUNT, relation: choice(tuple(RELATIONS))})
