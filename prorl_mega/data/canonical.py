"""The canonical fields of each domain, to which all published schemas are converted.

    math          prompt, answer; solution, verifier, level
    stem          prompt, answer; solution, choices (texts; the answer is one of them), unit, tolerance, level
    code          prompt, tests; solution, language
    instruction   prompt, constraints: [{"kind": "punctuation:no_comma", ...}]; solution
    logic         prompt, entry (of reasoning-gym, its metadata names the source_dataset); solution

and `id`, which is the number of the row if the file has none. Tests and constraints are checked by the tasks that use
them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from enum import StrEnum
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
    Domain.math: "prompt answer id? solution? verifier? level?",
    Domain.stem: "prompt answer id? solution? choices? unit? tolerance? level?",
    Domain.code: "prompt tests id? solution? language?",
    Domain.instruction: "prompt constraints id? solution?",
    Domain.logic: "prompt entry id? solution?",
}
REQUIRED = {domain: [name for name in names.split() if name[-1] != "?"] for domain, names in _COLUMNS.items()}
KNOWN = {domain: set(names.replace("?", "").split()) for domain, names in _COLUMNS.items()}


def canonical(fields: Fields, domain: Domain) -> Fields:
    """The known fields of a row, checked; others are left out. Raises BadRowError."""
    row: Fields = {"prompt": text(fields, "prompt")}
    for name in ("answer", "id"):
        if name in fields or name in REQUIRED[domain]:
            row[name] = text(fields, name, number=True)
    if fields.get("solution") is not None:
        row["solution"] = text(fields, "solution")
    if "level" in KNOWN[domain] and fields.get("level") is not None:
        row["level"] = text(fields, "level", number=True)  # how hard the row is, in the words of the file
    row |= _OF_DOMAIN[domain](fields)
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
    if name not in fields:
        raise BadRowError(f"no {name}", f"field {name!r} is missing")
    value = fields[name]
    one = name.removesuffix("s")
    if not isinstance(value, list) or not value:
        raise BadRowError(f"wrong {name}", f"field {name!r} must be a list with at least one {one}")
    for number, element in enumerate(value, start=1):
        if not isinstance(element, kind):
            needed = "an object" if kind is dict else "text"
            raise BadRowError(f"wrong {name}", f"{one} {number}: must be {needed}, not {type(element).__name__}")
    return value


def _math(fields: Fields) -> Fields:
    return {"verifier": text(fields, "verifier")} if "verifier" in fields else {}


def _stem(fields: Fields) -> Fields:
    row: Fields = {}
    if fields.get("choices") is not None:
        row["choices"] = items(fields, "choices", str)
        if len(set(row["choices"])) < len(row["choices"]) or len(row["choices"]) < 2:
            raise BadRowError("wrong choices", "field 'choices' must be at least two different texts")
        if fields["answer"] not in row["choices"]:
            raise BadRowError("wrong answer", f"field 'answer' must be one of the choices, not {fields['answer']!r}")
    if fields.get("unit") is not None:
        row["unit"] = text(fields, "unit")
    if fields.get("tolerance") is not None:
        value = fields["tolerance"]
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise BadRowError("wrong tolerance", f"field 'tolerance' must be a number >= 0, not {value!r}")
        row["tolerance"] = float(value)
    return row


def _code(fields: Fields) -> Fields:
    if "tests" not in fields:
        raise BadRowError("no tests", "field 'tests' is missing: it must be a list with at least one test")
    row: Fields = {"tests": items(fields, "tests", dict)}
    if "language" in fields:
        row["language"] = text(fields, "language")
    return row


def _instruction(fields: Fields) -> Fields:
    constraints = items(fields, "constraints", dict)
    for constraint in constraints:
        text(constraint, "kind")
    return {"constraints": constraints}


def _logic(fields: Fields) -> Fields:
    entry = fields.get("entry")
    metadata = entry.get("metadata") if isinstance(entry, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("source_dataset"), str):
        raise BadRowError("wrong entry", "field 'entry' must be an object whose metadata names its source_dataset")
    return {"entry": entry}


_OF_DOMAIN: dict[Domain, Callable[[Fields], Fields]] = {
    Domain.math: _math,
    Domain.stem: _stem,
    Domain.code: _code,
    Domain.instruction: _instruction,
    Domain.logic: _logic,
}
