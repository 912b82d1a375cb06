"""The description of a published schema, and functions that adapters share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError

Names = tuple[str, ...]
"""Columns that may hold the same thing, the most telling first; each may be a dotted path into a column."""


@dataclass(slots=True, frozen=True)
class Schema:
    """A way to write rows, and how a row of it becomes canonical.

    `needs` are the columns without which rows are not of this schema: one of each group of names. Other columns do not
    matter. `convert` raises BadRowError for a row that does not hold what the columns promise, and OtherDomainError for
    a row of another kind.
    """

    name: str
    domain: Domain
    source: str  # where it is published
    needs: tuple[Names, ...]
    convert: Callable[[Fields], Fields]
    by_name_only: bool = False  # never chosen by its columns

    def fits(self, rows: Iterable[Fields]) -> bool:
        """Whether some of the rows have each of the columns that this schema needs."""
        return all(any(first(row, *names) is not None for row in rows) for names in self.needs)


def columns(names: str) -> tuple[Names, ...]:
    """The groups of names in "a b|c": `a`, and one of `b` and `c`; a blank within a name is written as `·`."""
    return tuple(tuple(name.replace("·", " ") for name in group.split("|")) for group in names.split())


def lookup(fields: Any, path: str) -> Any:
    """The value at a dotted path (`reward_model.ground_truth`, `prompt.1.content`); None if there is none.

    A column whose own name has dots is found by it. JSON that is stored as text is looked into.
    """
    value = fields
    while True:
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            value = parsed(value)
        if isinstance(value, dict) and path in value:
            return value[path]
        name, dot, path = path.partition(".")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and len(name) < 9 and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
        if not dot:
            return value


def parsed(text: str) -> Any:
    """The value of JSON text; None for other texts."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def first(fields: Fields, *names: str) -> Any:
    """The first of these fields that is there and not blank; None when there is none."""
    return _found(fields, names)[1]


def needed(fields: Fields, *names: str) -> Any:
    return chosen(fields, *names)[1]


def chosen(fields: Fields, *names: str) -> tuple[str, Any]:
    """Name and value of the first of these fields. Raises BadRowError when there is none."""
    name, value = _found(fields, names)
    if value is None:
        name = next((name for name in names if name in fields), names[0])
        raise BadRowError(f"no {name}", f"field {name!r} is missing or blank")
    return name, value


def _found(fields: Fields, names: Names) -> tuple[str, Any]:
    for name in names:
        value = fields.get(name)
        if value is None and "." in name and name.partition(".")[0] in fields:
            value = lookup(fields, name)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return name, value
    return "", None


def decoded(value: Any, name: str) -> Any:
    """The value of JSON that is stored as text in a field."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"wrong {name}", f"field {name!r} does not hold JSON: {str(error)[:100]}") from None


def with_known(**fields: Any) -> Fields:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
