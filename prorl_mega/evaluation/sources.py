"""The evaluations that a command line names, the base first, each with the answers that were kept beside it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.run.evaluations import BASE, FINAL, load_evaluation
from prorl_mega.run.sample_store import HEADER, SampleStore


@dataclass(kw_only=True, slots=True, frozen=True)
class Evaluated:
    """An evaluation: the content of its file, and the store of its answers if there is one."""

    content: dict[str, Any]
    store: SampleStore | None


def read_evaluations(sources: list[str]) -> dict[str, Evaluated]:
    """Evaluations by the name of their model, in order. Raises ConfigError and DataError."""
    found: dict[str, Evaluated] = {}
    for source in sources:
        for name, path in _files(source):
            each = read_evaluated(path)
            if name in found:
                raise ConfigError(f"{source}: there is a {name} already; give it a name of its own: NAME={source}")
            found[name] = each
    if len(found) < 2:
        raise ConfigError(f"{' '.join(sources)}: is one evaluation; name at least two, the base first")
    return found


def read_evaluated(path: Path) -> Evaluated:
    """The evaluation in a JSON file. Raises DataError."""
    try:
        content = load_evaluation(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is no evaluation ({error}); `python -m prorl_mega.evaluate` and training write them"
        ) from None
    answers = path.with_suffix("")
    return Evaluated(content=content, store=SampleStore(answers) if (answers / HEADER).exists() else None)


def _files(source: str) -> list[tuple[str, Path]]:
    """The evaluations that an argument stands for, with their names."""
    named = None if os.path.exists(source) else re.fullmatch(r"([^=/]+)=(.+)", source)
    name, path = (named[1], Path(named[2])) if named else ("", Path(source))
    if os.path.isdir(path) and (path / HEADER).exists():  # the answers; the numbers lie beside them
        path = path.resolve().with_suffix(".json") if not path.suffix else Path(f"{path.resolve()}.json")
    if os.path.isdir(path):
        present = [path / "evaluation" / f"{label}.json" for label in (BASE, FINAL)]
        if missing := [str(each) for each in present if not each.exists()]:
            raise ConfigError(f"{path}: has no {' and no '.join(missing)}; a finished run has both")
        return [(f"{name or path.resolve().name}/{each.stem}", each) for each in present]
    if not os.path.exists(path):  # also where a name is too long for a file
        raise ConfigError(f"{str(path)[:200]}: does not exist; name a run, an evaluation (.json) or a table (.csv)")
    return [(name or path.stem, path)]
