"""Whether what a program wrote or returned is what is expected. No code of the program runs here."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from prorl_mega.sandbox.guest.values import LISTS

_NUMBER = re.compile(r"[+-]?(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_LONGEST = 1 << 20  # a range of more numbers equals nothing


def same_output(expected: str, got: str, tolerance: float) -> bool:
    """Whether outputs are equal line by line and word by word; blanks between words and at the end do not count.

    An expected word with a decimal point or an exponent may differ by `tolerance`, relative to it, and by what its last
    decimal place leaves open, if that is less than `tolerance`: 0.000012 may be 0.0000123, and 0.0 is no 1e-9.
    """
    wanted, given = _lines(expected), _lines(got)
    if len(wanted) != len(given):
        return False
    return all(
        len(a) == len(b) and all(x == y or _close(x, y, tolerance) for x, y in zip(a, b, strict=True))
        for a, b in zip(wanted, given, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.rstrip().split("\n")]


def _close(expected: str, got: str, tolerance: float) -> bool:
    if tolerance == 0 or not _NUMBER.fullmatch(expected) or _INTEGER.fullmatch(expected) or not _NUMBER.fullmatch(got):
        return False
    a, b = float(expected), float(got)
    place = Decimal(expected).as_tuple().exponent
    open_left = 0.5 * 10.0 ** int(place) if -400 < int(place) < 0 else math.inf
    return math.isfinite(a) and (_near(a, b, tolerance) or abs(a - b) <= open_left <= tolerance)


def _near(expected: float, got: float, tolerance: float) -> bool:
    """Whether a number is off by `tolerance` at most, relative to what is expected; next to 0 there is some noise."""
    return abs(expected - got) <= tolerance * (abs(expected) or tolerance)


def same_value(expected: Any, got: Any, tolerance: float) -> bool:
    """Whether values are equal as the JSON of `guest.plain`: builtin types only, no code of the program is called.

    Numbers compare as in Python, except that a truth value equals no number, and floats within `tolerance`, relative to
    what is expected; a tuple, a range and whatever else is read in order equals a list, because JSON cannot expect one.
    """
    try:
        return _same(_listed(expected), _listed(got), tolerance)
    except (RecursionError, ArithmeticError, ValueError, TypeError):  # a forged number, or one beyond all floats
        return False


def _same(expected: Any, got: Any, tolerance: float) -> bool:
    if type(expected) in (int, float) and type(got) is dict:
        return _same_exact_number(expected, got, tolerance)
    if isinstance(expected, float) and type(got) in (int, float):
        return bool(expected == got or (math.isfinite(expected) and _near(expected, got, tolerance)))
    if type(expected) is int and type(got) in (int, float):
        return bool(expected == got)
    if type(expected) is not type(got):
        return False
    if isinstance(expected, list):
        return len(expected) == len(got) and all(
            _same(_listed(a), _listed(b), tolerance) for a, b in zip(expected, got, strict=True)
        )
    if isinstance(expected, dict):
        return _same_contents(expected, got, tolerance)
    return bool(expected == got)


def _same_exact_number(expected: float, got: dict[str, Any], tolerance: float) -> bool:
    """Whether a Decimal or a Fraction has this value."""
    ((kind, contents),) = got.items()
    if kind == "decimal" and type(contents) is str and len(contents) <= _LONGEST:
        number = Decimal(contents)
        return bool(number == expected) or (type(expected) is float and _near(expected, float(number), tolerance))
    if kind == "fraction" and type(contents) is list and [type(each) for each in contents] == [int, int]:
        above, below = contents
        if type(expected) is int:
            return bool(below > 0 and above == expected * below)
        return below > 0 and _same(expected, above / below, tolerance)
    return False


def _listed(value: Any) -> Any:
    if type(value) is not dict or len(value) != 1:
        return value
    ((kind, contents),) = value.items()
    if kind == "range" and type(contents) is list and all(type(each) is int for each in contents):
        numbers = range(*contents)
        return list(numbers) if len(numbers) <= _LONGEST else value
    return contents if kind in LISTS else value


def _same_contents(expected: dict[str, Any], got: dict[str, Any], tolerance: float) -> bool:
    """Whether dictionaries or sets, written as {"kind": [...]}, have the same contents in any order."""
    if len(expected) != 1 or expected.keys() != got.keys():
        return False
    ((kind, wanted),), (given,) = expected.items(), got.values()
    if kind not in ("dict", "set", "frozenset"):
        return bool(json.dumps(wanted) == json.dumps(given))
    if type(given) is not list or len(given) != len(wanted):
        return False
    if kind != "dict":
        return sorted(map(json.dumps, wanted)) == sorted(map(json.dumps, given))
    if not all(type(pair) is list and len(pair) == 2 for pair in given):
        return False
    wanted, given = (sorted(pairs, key=lambda pair: json.dumps(pair[0])) for pairs in (wanted, given))
    return all(
        json.dumps(a[0]) == json.dumps(b[0]) and _same(_listed(a[1]), _listed(b[1]), tolerance)
        for a, b in zip(wanted, given, strict=True)
    )
