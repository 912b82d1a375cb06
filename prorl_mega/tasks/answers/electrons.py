r"""Electron configurations: `[Ar] 3d^5 4s^1`, `[\mathrm{Ar}]\,3d^{5}\,4s^{1}` and `[Ar] 4s1 3d5` are one."""

from __future__ import annotations

import re

from prorl_mega.tasks.answers.fonts import unwrapped

MAX_LENGTH = 300

_SMALL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_BLANK = re.compile(r"\\[,;:! ]|[$~]|\s(?!0)|\\(?:left|right)(?![a-z])")
_COUNT = r"(?:\^?\{?(1[0-4]|[1-9])\}?)"
_SUBSHELL = re.compile(rf"([1-8][spdfg]){_COUNT}")
_WHOLE = re.compile(rf"(\[(?:He|Ne|Ar|Kr|Xe|Rn)\])?((?:[1-8][spdfg]{_COUNT})+)")


def configuration(text: str) -> tuple[str, ...] | None:
    """The core and the subshells with their electrons, sorted; None for other texts, such as one subshell alone."""
    if len(text) > MAX_LENGTH:
        return None
    match = _WHOLE.fullmatch(_BLANK.sub("", unwrapped(text).translate(_SMALL)).rstrip("."))
    if match is None:
        return None
    subshells, place = [], 0
    while place < len(match[2]):
        found = _subshell(match[2], place)
        subshells.append(found[1] + found[2])
        place = found.end()
    core = match[1] or ""
    return (core, *sorted(subshells)) if core or len(subshells) > 1 else None


def _subshell(text: str, place: int) -> re.Match[str]:
    """The subshell that begins at a place, with the longest count behind which another one, or nothing, follows."""
    for end in range(min(len(text), place + 8), place, -1):
        found = _SUBSHELL.fullmatch(text, place, end)
        if found and (end == len(text) or _SUBSHELL.match(text, end)):
            return found
    raise AssertionError("a part of what matched")
