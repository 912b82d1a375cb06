"""The machine as Python programs expect it, where the sandbox lacks it: standard streams by name, limits to raise."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import resource
from collections.abc import Callable
from functools import partial
from typing import Any

_STREAMS = {
    path: number
    for number, name in enumerate(("stdin", "stdout", "stderr"))
    for path in (f"/dev/{name}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}


def name_streams() -> None:
    """Let `open`, `io.open`, `os.open` and `os.stat` know these names. The position is the stream's, as with a pipe."""
    builtins.open = io.open = partial(_open, open)  # a partial, like a builtin, is no method
    os.open = partial(_open_number, os.open)
    os.stat = partial(_stat, os.stat)


def keep_limits() -> None:
    """Let `resource.setrlimit` raise a limit of the sandbox, as programs do for their stack, without any effect."""
    resource.setrlimit = partial(_limit, resource.setrlimit)


def _limit(original: Callable[..., None], which: int, limits: Any) -> None:
    with contextlib.suppress(ValueError):  # not allowed to raise it
        original(which, limits)


def _open(original: Callable[..., Any], file: Any, *arguments: Any, **keywords: Any) -> Any:
    number = _number(file)
    return original(file if number is None else os.dup(number), *arguments, **keywords)


def _open_number(original: Callable[..., int], path: Any, *arguments: Any, **keywords: Any) -> int:
    number = _number(path)
    return original(path, *arguments, **keywords) if number is None else os.dup(number)


def _stat(original: Callable[..., os.stat_result], path: Any, *arguments: Any, **keywords: Any) -> os.stat_result:
    number = _number(path)
    return original(path, *arguments, **keywords) if number is None else os.fstat(number)


def _number(path: Any) -> int | None:
    return _STREAMS.get(os.fspath(path)) if isinstance(path, str | os.PathLike) else None
