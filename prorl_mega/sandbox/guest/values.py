"""Values as JSON that another process makes the same values of: builtin types, and nothing of a program's own."""

from __future__ import annotations

from typing import Any


class NotPlainError(TypeError):
    """A value that cannot be sent to another process."""


def plain(value: Any) -> Any:
    """A value as JSON that `unplain` undoes; kinds that JSON lacks become {"kind": contents}. Raises TypeError."""
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if abs(value) < float("inf") else {"float": repr(float(value))}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(each)] for key, each in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [plain(each) for each in value]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [plain(value.real), plain(value.imag)]}
    raise NotPlainError(f"a value of type {type(value).__name__} is not plain data")


def unplain(data: Any) -> Any:
    """The value of such JSON. Raises TypeError or ValueError for anything else; makes builtin types only."""
    if data is None or type(data) in (bool, int, float, str):
        return data
    if type(data) is list:
        return [unplain(each) for each in data]
    if type(data) is not dict or len(data) != 1:
        raise NotPlainError("not plain data")
    ((kind, contents),) = data.items()
    if kind == "float" and contents in ("inf", "-inf", "nan"):
        return float(contents)
    if kind == "dict" and type(contents) is list:
        return {unplain(key): unplain(each) for key, each in contents}
    if kind in ("tuple", "set", "frozenset") and type(contents) is list:
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](unplain(each) for each in contents)
    if kind == "bytes" and type(contents) is str:
        return bytes.fromhex(contents)
    if kind == "complex" and type(contents) is list:
        return complex(*(unplain(each) for each in contents))
    raise NotPlainError(f"not plain data: {str(kind)[:40]!r}")
