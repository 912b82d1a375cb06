"""JSON as RFC 8259 has it: no NaN, no number beyond all bounds, no name twice in an object."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def read(text: str) -> Any:
    """The value that a text is; raises ValueError if it is none, or too deep or too long to be read."""
    try:
        return json.loads(text, parse_constant=_none, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _none(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits:.20} is beyond all bounds")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(made := dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return made
