"""The values that a number may have, written beside the field, and the check that reads them."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterator
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)

_RULES = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "more than"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "less than"),
}


LARGEST: dict[type, float] = {int: 2**31 - 1, float: 1e30}
"""The bound of numbers without one of their own: the arithmetic behind them has 32 bits."""


def bounded(default: Number, **bounds: float) -> Number:
    """A number of a settings class with its bounds: `bounded(0.2, gt=0, le=1)`; LARGEST holds where none is given."""
    assert bounds.keys() <= _RULES.keys(), bounds
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def out_of_bounds(settings: Any, prefix: str = "") -> Iterator[str]:
    """One sentence per number that is not finite or outside its bounds: its dotted key, its value, and what works.

    `settings` is an object of a settings class; those inside it, in its dicts and in its lists are looked at as well.
    """
    for field in dataclasses.fields(settings):
        key, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            bounds = field.metadata.get("bounds", {})
            most = LARGEST[float if field.type == "float" else int]
            if value > most and not {"le", "lt"} & bounds.keys():
                bounds = bounds | {"le": most}
            if value < -most and not {"ge", "gt"} & bounds.keys():
                bounds = bounds | {"ge": -most}
            rules = [(*_RULES[rule], bound) for rule, bound in bounds.items()]
            if not math.isfinite(value) or not all(holds(value, bound) for holds, _, bound in rules):
                allowed = " and ".join(f"{words} {_number(bound)}" for _, words, bound in rules) or "a finite number"
                yield f"{key}={_number(value)} must be {allowed}"
        inner = [(f"{key}.", value)]
        if isinstance(value, dict):
            inner = [(f"{key}.{name}.", each) for name, each in value.items()]
        elif isinstance(value, list):
            inner = [(f"{key}[{index}].", each) for index, each in enumerate(value)]
        for place, each in inner:
            if dataclasses.is_dataclass(each):
                yield from out_of_bounds(each, place)
