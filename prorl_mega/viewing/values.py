"""Texts and numbers of other people's files on their way to a page: printable, bounded, and nothing that JSON lacks."""

from __future__ import annotations

import math

from prorl_mega.run.console import printable

LONGEST = 300  # characters, unless a caller says otherwise
_DIGITS = 6  # significant


def text(value: str, longest: int = LONGEST) -> str:
    """The first characters, without control characters. Names of files may be no UTF-8."""
    return printable(value[:longest].encode("utf-8", "replace").decode())


def number(value: float | None) -> float | None:
    """The number with the digits that a reader sees; None for NaN and infinity."""
    try:
        return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
    except OverflowError:  # a whole number beyond all floats
        return None
