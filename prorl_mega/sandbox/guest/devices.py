"""Standard streams by name, and a stack to enlarge: Python programs expect them, and the sandbox has neither."""

from __future__ import annotations

import builtins
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


def keep_stack() -> None:
    """Let `resource.setrlimit` enlarge the stack beyond what the sandbox allows, without any effect."""
    resource.setrlimit = partial(_limit, resource.setrlimit)


def _limit(original: Callable[..., None], which: int, limits: Any) -> None:
    try:
        original(which, limits)
    except ValueError:
        if which != resource.RLIMIT_STACK:
            raise


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
