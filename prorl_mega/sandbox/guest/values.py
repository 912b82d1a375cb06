"""Values as JSON that another process makes the same values of: types of the standard library, nothing of a program's.

What cannot be copied (functions, iterators that are still to be read, objects of a program's classes) may stay where it
is: `keep` numbers it, and the other process makes a stand-in for the number.
"""

from __future__ import annotations

import collections
import datetime
import math
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from prorl_mega.sandbox.guest.distant import number_of

PROGRAM = "solution"  # the module that a program is
Keep = Callable[[Any], int]
StandIn = Callable[[str, int], Any]

_VIEWS: dict[str, tuple[Any, Callable[[list[Any]], Any]]] = {
    "keys": (type({}.keys()), lambda each: dict.fromkeys(each).keys()),
    "values": (type({}.values()), lambda each: dict(enumerate(each)).values()),
    "items": (type({}.items()), lambda each: dict(each).items()),
    "deque": (collections.deque, collections.deque),
    "tuple": (tuple, tuple),
    "set": (set, set),
    "frozenset": (frozenset, frozenset),
}
_DATES: dict[str, Any] = {"datetime": datetime.datetime, "date": datetime.date, "time": datetime.time}
_HEX: dict[str, Any] = {"bytes": bytes, "bytearray": bytearray}
_TYPES: dict[str, type] = {
    each.__name__: each for each in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}
_LONG = 10_000  # bits of an integer, beyond which Python may refuse to write it in decimal
LISTS = ("tuple", "deque", "keys", "values", "items", "iterator", "array")
"""Kinds whose contents are a list, where only the order of the contents counts."""


class NotPlainError(TypeError):
    """A value that cannot be sent to another process."""


def plain(value: Any, keep: Keep | None = None) -> Any:
    """A value as JSON that `unplain` undoes; kinds that JSON lacks become {"kind": contents}. Raises NotPlainError.

    Without `keep`, iterators are read to their end.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        return number if number.bit_length() <= _LONG else {"integer": hex(number)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, list):
        return [plain(each, keep) for each in value]
    if isinstance(value, dict):
        return {"dict": [[plain(key, keep), plain(each, keep)] for key, each in value.items()]}
    for name, (kind, _) in _VIEWS.items():
        if isinstance(value, kind):
            return {name: [plain(each, keep) for each in value]}
    return _rare(value, keep)


def _rare(value: Any, keep: Keep | None) -> Any:
    if (number := number_of(value)) is not None:
        return {"object": number}
    kind = type(value)
    for name, binary in _HEX.items():
        if isinstance(value, binary):
            return {name: value.hex()}
    if isinstance(value, complex):
        return {"complex": [plain(value.real), plain(value.imag)]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, Decimal):
        return {"decimal": Decimal.__str__(value)}
    for name, moment in _DATES.items():
        if isinstance(value, moment):
            return {name: moment.isoformat(value)}
    if isinstance(value, datetime.timedelta):
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, Fraction):
        return {"fraction": [int(value.numerator), int(value.denominator)]}
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        copy = value.tolist()
        if type(copy) is not kind:
            return (
                {"array": [plain(each) for each in copy]} if kind.__name__ == "ndarray" and value.ndim else plain(copy)
            )
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return {"type": value.__name__}
    if isinstance(value, Iterator):
        return {"iterator": [plain(each) for each in value] if keep is None else keep(value)}
    if callable(value) and keep is not None:
        return {"function": keep(value)}
    if kind.__module__ == PROGRAM and keep is not None:
        return {"object": keep(value)}
    raise NotPlainError(f"a value of type {kind.__name__} is not plain data")


def unplain(data: Any, stand_in: StandIn | None = None) -> Any:
    """The value of such JSON. Raises TypeError or ValueError for anything else."""
    if type(data) is list:
        return [unplain(each, stand_in) for each in data]
    if data is None or type(data) in (bool, int, str) or (type(data) is float and math.isfinite(data)):
        return data
    if type(data) is not dict or len(data) != 1:
        raise NotPlainError("not plain data")
    ((kind, contents),) = data.items()
    if kind in ("function", "iterator", "object") and type(contents) is int and stand_in is not None:
        return stand_in(kind, contents)
    if kind in _HEX and type(contents) is str:
        return _HEX[kind].fromhex(contents)
    if kind == "float" and contents in ("inf", "-inf", "nan"):
        return float(contents)
    if kind in _DATES and type(contents) is str:
        return _DATES[kind].fromisoformat(contents)
    if kind == "integer" and type(contents) is str:
        return int(contents, 16)
    if kind == "decimal" and type(contents) is str and len(contents) < 10_000:
        return Decimal(contents)
    if kind == "type" and type(contents) is str and contents in _TYPES:
        return _TYPES[contents]
    if type(contents) is not list:
        raise NotPlainError(f"not plain data: {str(kind)[:40]!r}")
    return _collection(kind, [unplain(each, stand_in) for each in contents])


def _collection(kind: str, contents: list[Any]) -> Any:
    if kind in _VIEWS:
        return _VIEWS[kind][1](contents)
    if kind == "dict":
        return dict(contents)
    if kind == "iterator":
        return iter(contents)
    if kind == "array":
        numpy = sys.modules.get("numpy")
        return contents if numpy is None else numpy.array(contents)
    if kind == "range" and all(type(each) is int for each in contents):
        return range(*contents)
    if kind == "timedelta" and all(type(each) is int for each in contents):
        return datetime.timedelta(*contents)
    if kind == "fraction" and all(type(each) is int for each in contents):
        return Fraction(*contents)
    if kind == "complex" and all(type(each) in (int, float) for each in contents):
        return complex(*contents)
    raise NotPlainError(f"not plain data: {kind[:40]!r}")


def renew(old: Any, new: Any) -> Any:
    """Give `old` the contents of its changed copy `new` and return it; or return `new`, if `old` cannot be changed."""
    if type(old) is not type(new):
        return new
    if type(old) is list:
        old[:] = [renew(*pair) for pair in zip(old, new, strict=False)] + new[len(old) :]
    elif type(old) is dict:
        contents = {key: renew(old[key], each) if key in old else each for key, each in new.items()}
        old.clear()
        old.update(contents)
    elif type(old) is tuple and len(old) == len(new):
        for pair in zip(old, new, strict=True):
            renew(*pair)
    elif isinstance(old, set | collections.deque | bytearray):
        old.clear()
        (old.update if isinstance(old, set) else old.extend)(new)
    else:
        return new
    return old
