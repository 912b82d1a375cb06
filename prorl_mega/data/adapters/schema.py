"""The description of a published schema, and functions that adapters share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError


@dataclass(slots=True, frozen=True)
class Schema:
    """Columns of a published data set, and how a row of it becomes canonical.

    `columns` lists the forms in which the set is published, separated by `|`: names, `name?` for a column that may be
    missing, and `*` if there may be further ones; a blank within a name is written as `·`. `convert` raises BadRowError
    for a row that does not hold what the columns promise, and OtherDomainError for a row of another kind.
    """

    name: str
    domain: Domain
    source: str  # where it is published
    columns: str
    convert: Callable[[Fields], Fields]
    by_name_only: bool = False  # never chosen by its columns

    def fits(self, columns: set[str]) -> bool:
        """Whether these are the columns of this schema and no others."""
        return not self.by_name_only and any(_fits(form.split(), columns) for form in self.columns.split("|"))


def _fits(form: list[str], columns: set[str]) -> bool:
    names = {name.removesuffix("?").replace("·", " "): name.endswith("?") for name in form if name != "*"}
    required = {name for name, is_optional in names.items() if not is_optional}
    return required <= columns and ("*" in form or columns <= names.keys())


def first(fields: Fields, *names: str) -> Any:
    """The first of these fields that is there and not blank; None when there is none."""
    for name in names:
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def needed(fields: Fields, *names: str) -> Any:
    value = first(fields, *names)
    if value is None:
        raise BadRowError(f"no {names[0]}", f"field {names[0]!r} is missing or blank")
    return value


def decoded(value: Any, name: str) -> Any:
    """The value of JSON that is stored as text in a field."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"wrong {name}", f"field {name!r} does not hold JSON: {str(error)[:100]}") from None


def eurus_model(fields: Fields, ability: str) -> Fields:
    """The reward model of a row of Eurus-2-RL-Data, whose rows are of several abilities."""
    if fields.get("ability") != ability:
        raise OtherDomainError(str(fields.get("ability")))
    model = fields.get("reward_model")
    if not isinstance(model, dict):
        raise BadRowError("wrong reward_model", "field 'reward_model' must be an object with ground_truth")
    return model


def number_text(value: Any) -> Any:
    """A number as text, 142.0 as "142": whole answers are often stored as floats."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return value


def with_known(**fields: Any) -> Fields:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def boxed(text: Any) -> str | None:
    r"""The content of the last \boxed{...} or \fbox{...} in a text; None without a complete one."""
    if not isinstance(text, str):
        return None
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    depth, begin = 0, text.index("{", start)
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[begin + 1 : place].strip() or None
    return None


def message(messages: Any, name: str) -> str:
    """The user's text in a conversation of one turn. System messages are left out: a run has a prompt of its own."""
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise BadRowError(f"wrong {name}", f"field {name!r} must be text or a list of messages")
    texts = [each.get("content") for each in messages if each.get("role") == "user"]
    others = [each.get("role") for each in messages if each.get("role") not in ("user", "system")]
    if len(texts) != 1 or others or not isinstance(texts[0], str):
        raise BadRowError(f"wrong {name}", f"field {name!r} must hold one message of the user, and no answers")
    return texts[0]
