"""Output that is written as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from prorl_mega.data.canonical import Fields
from prorl_mega.errors import DataError, StorageError


@contextlib.contextmanager
def rows_to(path: Path | None) -> Iterator[Callable[[Fields], None]]:
    """A function that writes a row as a line of JSON; without a path it drops the row.

    The file gets its name when everything is on the disk; after an error nothing is left. Raises DataError if the file
    exists already, and StorageError if it cannot be written.
    """
    if path is None:
        yield lambda fields: None
        return
    if path.suffix != ".jsonl":
        raise DataError(f"{path}: the output must be a .jsonl file")
    if path.exists():
        raise DataError(f"{path}: is there already; remove it or choose another name")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            yield lambda fields: print(json.dumps(fields, ensure_ascii=False, allow_nan=False), file=file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
