"""The columns of a data set as a user names them: `columns: {prompt: question, answer: reward_model.ground_truth}`.

Keys are canonical fields, values are columns or dotted paths into them. The same line is proposed, after it has been
tried, for rows that no schema reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

from prorl_mega.data.adapters.schema import lookup, parsed
from prorl_mega.data.canonical import KNOWN, REQUIRED, Domain, Fields

Mapped = Mapping[str, str]
READ_TOO = {Domain.code: {"entry_point", "starter_code"}}
"""Names beside the canonical ones that adapters of a domain read: the function that is tested, and its first lines."""
_LIKELY = {
    "prompt": r"prompt|question|problem|query|instruction|input|text|content|quiz|task",
    "answer": r"answer|solution|target|label|gold|truth|result|correct|output|expected",
    "tests": r"test|input_output|cases|check|assert|truth",
    "constraints": r"constraint|instruction",
    "entry": r"entry|metadata",
}
_DEEPEST, _MOST = 3, 8  # levels of columns that are proposed, and columns that are tried for each field
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w .-]*(?<! )")


def allowed(domain: Domain) -> list[str]:
    return sorted(KNOWN[domain] | READ_TOO.get(domain, set()))


def mapped(fields: Fields, names: Mapped) -> Fields:
    """The row with the columns that are named in `names` under their canonical names; the others stay."""
    given = {name: lookup(fields, path) for name, path in names.items()}
    return {**{name: value for name, value in fields.items() if name not in names}, **given}


def line(names: Mapped) -> str:
    """The names as they are written in settings and on the command line."""
    quoted = (f"{name}: {path if _PLAIN_NAME.fullmatch(path) else json.dumps(path)}" for name, path in names.items())
    return f"columns: {{{', '.join(quoted)}}}"


def proposed(rows: list[Fields], domain: Domain, reads: Callable[[list[Fields]], bool]) -> dict[str, str] | None:
    """The columns that could be the fields a domain needs; None if none make rows that `reads` accepts."""
    paths = list(dict.fromkeys(path for row in rows for path in _paths(row, "", _DEEPEST)))
    prompts = _ranked(paths, rows, "prompt")
    others = _ranked(paths, rows, REQUIRED[domain][1])
    for prompt in prompts:
        for other in others:
            names = {"prompt": prompt, REQUIRED[domain][1]: other}
            inside = prompt == other or other.startswith(f"{prompt}.") or prompt.startswith(f"{other}.")
            if not inside and reads([mapped(row, names) for row in rows]):
                return names
    return None


def _ranked(paths: list[str], rows: list[Fields], field: str) -> list[str]:
    """Columns that most likely hold a field: by their names, then by the length of what is in them."""

    def rank(path: str) -> tuple[bool, bool, float]:
        found = [value for row in rows if (value := lookup(row, path)) is not None]
        length = fmean(len(str(value)) for value in found)
        named = re.search(_LIKELY[field], path.rpartition(".")[2].lower()) is not None
        varied = len({str(value) for value in found}) > 1 or len(found) == 1
        return not named, not varied, length if field == "answer" else -length

    return sorted(paths, key=rank)[:_MOST]


def _paths(value: Any, before: str, levels: int) -> Iterator[str]:
    """Paths to all columns that are filled, and to those inside of objects."""
    for name, inner in value.items():
        path = f"{before}{name}"
        if inner is None or (isinstance(inner, str) and not inner.strip()):
            continue
        yield path
        if isinstance(inner, str) and inner.lstrip().startswith("{"):
            inner = parsed(inner)
        if isinstance(inner, dict) and levels > 1:
            yield from _paths(inner, f"{path}.", levels - 1)
