"""The files of a benchmark: below a directory by their usual names, or at a path that a user gives."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prorl_mega.data import archive, files, schemas
from prorl_mega.data.adapters import SCHEMAS
from prorl_mega.data.rows import DataRow
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks.benchmarks.benchmark import Benchmark
from prorl_mega.tasks.benchmarks.published import PRIME_FILES, PRIME_SPLIT, PUBLISHED

_SUFFIXES = (*files.KINDS, *archive.SUFFIXES)
_COLUMN, _SCHEMA = "data_source", "eurus_code"


@dataclass(kw_only=True, slots=True, frozen=True)
class Place:
    """A path for the task's options, and what these have to say about it besides."""

    path: str
    options: dict[str, Any] = field(default_factory=dict)  # which rows belong to the benchmark; empty: all


def find(benchmark: Benchmark, directory: Path) -> Place:
    """The one place below `directory`. Raises ConfigError for none, with all that was looked at, and for several."""
    found = list(_named(directory, (benchmark.name, *benchmark.files)))
    if not found and benchmark.source_name:
        found = list(_named(directory, PRIME_FILES))
        if len(found) == 1:
            path = _readable(found[0], PRIME_SPLIT, benchmark.name)
            return Place(path=path, options=_share(benchmark))
    if len(found) > 1:
        raise ConfigError(
            f"{benchmark.name}: {', '.join(map(str, found))} could all be it; say which: {benchmark.name}={found[0]}"
        )
    if not found:
        raise ConfigError(_missing(benchmark, directory))
    return given(benchmark, str(found[0]))


def given(benchmark: Benchmark, path: str) -> Place:
    """The place that `path` names: a file, a pattern, a directory, or hf:owner/name. Raises ConfigError."""
    if path.startswith(files.HUB):
        return Place(path=path)
    if Path(path).is_dir():
        path = _readable(Path(path), benchmark.split, benchmark.name)
    try:
        sources = files.find(path)
        is_mixed = bool(benchmark.source_name) and _is_mixed(sources)
    except DataError as error:
        raise ConfigError(f"{benchmark.name}: {error}") from None
    return Place(path=path, options=_share(benchmark) if is_mixed else {})


def looked_at(benchmark: Benchmark, directory: Path) -> str:
    """The paths of a benchmark's files below `directory`, in the notation of a shell."""
    names = [benchmark.name, *benchmark.files]
    if benchmark.source_name:
        names += PRIME_FILES
    listed = f"{{{','.join(names)}}}" if len(names) > 1 else names[0]
    return f"{directory / listed}{{/,{','.join(_SUFFIXES)}}}"


def _missing(benchmark: Benchmark, directory: Path) -> str:
    there = "" if directory.is_dir() else f" ({directory} is no directory)"
    return (
        f"{benchmark.name}: no file. Looked for {looked_at(benchmark, directory)}{there}. Usually from "
        f"{benchmark.source}; put it there, or name it: {benchmark.name}=PATH"
    )


def _named(directory: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """The files and folders of a directory with one of these names; case, dashes and underscores do not matter."""
    wanted = {_plain(name) for name in names}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.is_dir():
            stem = path.name
        else:
            suffix = next((each for each in _SUFFIXES if path.name.lower().endswith(each)), None)
            if suffix is None:
                continue
            stem = path.name[: -len(suffix)]
            stem = next((stem[: -len(kind)] for kind in files.KINDS if stem.endswith(kind)), stem)  # x.jsonl.gz
        if _plain(stem) in wanted:
            yield path


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _readable(path: Path, split: str, name: str) -> str:
    """A file as it is; a folder, or a pattern for the files of `split` where the folder has several."""
    if not path.is_dir():
        return str(path)
    try:
        files.find(str(path))
        return str(path)
    except DataError as error:
        for kind in files.KINDS:
            pattern = f"{glob.escape(str(path))}/**/{split}*{kind}"
            if glob.glob(pattern, recursive=True):
                return pattern
        raise ConfigError(f"{name}: {error}; name the right one: {name}=PATH") from None


def _share(benchmark: Benchmark) -> dict[str, Any]:
    """The options for the benchmark's rows of a mixed file; its system turn, for another recipe, is left out."""
    return {"only": {_COLUMN: benchmark.source_name}, "schema": _SCHEMA}


def _is_mixed(sources: list[files.Source]) -> bool:
    """Whether rows say of which of several benchmarks they are, as in the validation file of PRIME."""
    known = {each.source_name for each in PUBLISHED.values() if each.source_name}
    items = itertools.islice(schemas.raw_rows(sources), schemas.LOOKED_AT)
    rows = [item.fields for item in items if isinstance(item, DataRow)]
    values = [str(row.get(_COLUMN, "")) for row in rows]
    is_of_source = any(value in known or value.startswith("numina_") for value in values)
    return is_of_source and SCHEMAS[_SCHEMA].fits(rows)
