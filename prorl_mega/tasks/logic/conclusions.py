"""Conclusions in propositional logic: what follows from premises, and from all of them only.

reasoning-gym gives full marks to every premise, and to a right conclusion with `or` and anything behind it. Then a
disjunction of many guesses is always right. Here a conclusion must need all premises, and no part of a disjunction may
follow by itself: `P ∨ Q` is no conclusion where `P` is one. Some references are of that kind; they stay right.
"""

from __future__ import annotations

import re
from typing import Any


def concluded(answer: str, item: dict[str, Any], scorer: Any) -> bool:
    """Whether a formula follows from all premises but from none alone, and they do not contradict each other.

    `scorer` is a `propositional_logic` data set object of reasoning-gym. Raises ValueError for what is no formula.
    """
    from reasoning_gym.logic.propositional_logic import Expression

    if not re.fullmatch(r"[A-Z\u2227\u2228\u00ac\u2192\u2194()\s]{1,200}", answer):
        return False
    premises = [Expression.from_string(premise) for premise in item["metadata"]["premises"]]
    conclusion = Expression.from_string(answer)
    if conclusion.operator is None or any(scorer._is_valid_conclusion([premise], conclusion) for premise in premises):
        return False
    assignments = scorer._generate_assignments(scorer._collect_variables([*premises, conclusion]))
    worlds = [each for each in assignments if all(premise.evaluate(each) for premise in premises)]
    if not worlds or not _holds(conclusion, True, worlds):
        return False
    example = item["metadata"].get("example_answer") or ""
    return _bare(answer) == _bare(example) or not _has_idle_part(conclusion, True, worlds)


def _bare(formula: str) -> str:
    """A formula without blanks and brackets around the whole; every formula of two operands has such brackets."""
    return re.sub(r"\s", "", formula).removeprefix("(").removesuffix(")")


def _holds(formula: Any, value: bool, worlds: list[dict[str, bool]]) -> bool:
    return all(formula.evaluate(world) == value for world in worlds)


def _has_idle_part(formula: Any, value: bool, worlds: list[dict[str, bool]]) -> bool:
    """Whether "the formula is `value`" has a disjunction of which one part follows by itself.

    `worlds` are the assignments in which the premises are true.
    """
    from reasoning_gym.logic.propositional_logic import Operator

    if formula.operator is None:
        return False
    if formula.operator is Operator.NOT:
        return _has_idle_part(formula.left, not value, worlds)
    if formula.operator is Operator.IFF:
        sides = [(side, either) for side in (formula.left, formula.right) for either in (True, False)]
        return any(_has_idle_part(side, either, worlds) for side, either in sides)
    parts = ((formula.left, value != (formula.operator is Operator.IMPLIES)), (formula.right, value))
    disjunction = value != (formula.operator is Operator.AND)
    return any((disjunction and _holds(*part, worlds)) or _has_idle_part(*part, worlds) for part in parts)
