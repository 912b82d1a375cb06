"""The canonical fields of each domain, to which all published schemas are converted.

    math          prompt, answer; solution, verifier, level
    stem          prompt, answer; solution, choices (texts; the answer is one of them), unit, tolerance, level
    code          prompt, tests; solution, language
    instruction   prompt, constraints: [{"kind": "punctuation:no_comma", ...}]; solution
    logic         prompt, entry (of reasoning-gym, its metadata names the source_dataset); solution

and `system`, the system turn before the prompt, and `id`, which is the number of the row if the file has none. Tests
and constraints are checked by the tasks that use them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

from prorl_mega.data.rows import BadRowError

Fields = dict[str, Any]
DEEPEST = 100  # levels of nesting; Python's JSON encoder gives up at about a thousand


class Domain(StrEnum):
    """The way in which answers to a row are judged."""

    math = "math"
    stem = "stem"
    code = "code"
    instruction = "instruction"
    logic = "logic"


_COLUMNS = {
    Domain.math: "prompt answer id? system? solution? verifier? level?",
    Domain.stem: "prompt answer id? system? solution? choices? unit? tolerance? level?",
    Domain.code: "prompt tests id? system? solution? language?",
    Domain.instruction: "prompt constraints id? system? solution?",
    Domain.logic: "prompt entry id? system? solution?",
}
REQUIRED = {domain: [name for name in names.split() if name[-1] != "?"] for domain, names in _COLUMNS.items()}
KNOWN = {domain: set(names.replace("?", "").split()) for domain, names in _COLUMNS.items()}
CODE_TESTS = ({"input", "output"}, {"function", "arguments", "expected"}, {"function", "code"})
"""The fields of a test of a program, in its three forms."""


def canonical(fields: Fields, domain: Domain) -> Fields:
    """The known fields of a row, checked; others are left out. Raises BadRowError."""
    row: Fields = {}
    for name, read in _READERS.items():
        is_known = name in KNOWN[domain] or name == "answer"
        is_given = name in fields and (fields[name] is not None or name in _NEVER_NULL)
        if name in REQUIRED[domain] or (is_known and is_given):
            row[name] = read(fields, name)
    _need_plain(row)
    return row


def _need_plain(row: Fields) -> None:
    """Raise BadRowError for a row that JSON cannot express: rows are sent to other processes as JSON."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        line.encode()
    except UnicodeEncodeError:
        raise BadRowError("invalid text", "contains half of a surrogate pair, which no UTF-8 text can hold") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRowError("not plain data", f"holds what JSON cannot express: {error}") from None
    if line.count("[") + line.count("{") > DEEPEST and _depth(row) > DEEPEST:
        raise BadRowError("too deep", f"has more than {DEEPEST} levels of lists and objects within each other")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth


def text(fields: Fields, name: str, *, number: bool = False) -> str:
    """A field that must be text and not blank; a `number` may be written as one."""
    if name not in fields:
        raise BadRowError(f"no {name}", f"field {name!r} is missing")
    value = fields[name]
    if number and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadRowError(f"wrong {name}", f"field {name!r} must be text that is not blank, not {str(value)[:80]!r}")
    return value


def items(fields: Fields, name: str, kind: type) -> list[Any]:
    """A field that must be a list with at least one element, all of one type."""
    one = name.removesuffix("s")
    needed = f"must be a list with at least one {one}"
    if name not in fields:
        raise BadRowError(f"no {name}", f"field {name!r} is missing: it {needed}")
    value = fields[name]
    if not isinstance(value, list) or not value:
        raise BadRowError(f"wrong {name}", f"field {name!r} {needed}")
    for number, element in enumerate(value, start=1):
        if not isinstance(element, kind):
            needed = "an object" if kind is dict else "text"
            raise BadRowError(f"wrong {name}", f"{one} {number}: must be {needed}, not {type(element).__name__}")
    return value


def _choices(fields: Fields, name: str) -> list[Any]:
    choices = items(fields, name, str)
    if len(set(choices)) < len(choices) or len(choices) < 2:
        raise BadRowError("wrong choices", "field 'choices' must be at least two different texts")
    if fields["answer"] not in choices:
        raise BadRowError("wrong answer", f"field 'answer' must be one of the choices, not {fields['answer']!r}")
    return choices


def _tolerance(fields: Fields, name: str) -> float:
    value = fields[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise BadRowError("wrong tolerance", f"field 'tolerance' must be a number >= 0, not {value!r}")
    return float(value)


def _constraints(fields: Fields, name: str) -> list[Any]:
    constraints = items(fields, name, dict)
    for constraint in constraints:
        text(constraint, "kind")
    return constraints


def _entry(fields: Fields, name: str) -> Any:
    entry = fields.get(name)
    metadata = entry.get("metadata") if isinstance(entry, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("source_dataset"), str):
        raise BadRowError("wrong entry", "field 'entry' must be an object whose metadata names its source_dataset")
    return entry


_short = partial(text, number=True)
_READERS: dict[str, Callable[[Fields, str], Any]] = {
    "prompt": text, "answer": _short, "id": _short, "system": text, "solution": text, "level": _short, "verifier": text,
    "choices": _choices, "unit": text, "tolerance": _tolerance, "tests": partial(items, kind=dict), "language": text,
    "constraints": _constraints, "entry": _entry,
}  # fmt: skip
"""In the order in which a row has them; `level` is how hard the row is, in the words of the file."""
_NEVER_NULL = ("answer", "id", "verifier", "language")  # null in another field is the same as no such field
