"""Markup around a whole response, which an instruction about form meets and a reader does not see.

For format-relaxed scores of an evaluation alone: a model that was never told how to respond may put its text between
tags, into a block of code or behind "Answer:". There is one reading for each of at most `LAYERS` layers. Thoughts are
no markup: what stands before `</think>` is never judged, in either way.
"""

from __future__ import annotations

import re

LAYERS = 3

_TAGGED = re.compile(r"<(answer|response|output|result|text|final_answer|final)>(.*)</\1>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"(`{3,}|~{3,})[^\n`~]{0,40}\n(.*)\n\1", re.DOTALL)
_BOX, _TEXT = r"\boxed{", r"\text{"
_LABELLED = re.compile(
    r"(?:[#*_]{1,3}\s?)?(?:(?:my|the|final|here is (?:my|the))\s){0,2}(?:answer|response|output|assistant)"
    r"(?:[*_]{1,3})?:(?:[*_]{1,3})?\s*(\S.*)",
    re.DOTALL | re.IGNORECASE,
)


def is_wrapped(text: str) -> bool:
    """Whether a whole response stands in markup."""
    return _inside(text.strip()) is not None


def unwrapped(text: str) -> list[str]:
    """The response without its outermost layer of markup, without the next one as well, and so on."""
    found: list[str] = []
    inside = _inside(text.strip())
    while inside is not None and len(found) < LAYERS:
        found.append(inside)
        inside = _inside(inside)
    return found


def _inside(text: str) -> str | None:
    """The text in the outermost markup; None without any, or if nothing is in it."""
    inside = ""
    if text.startswith(_BOX) and text.endswith("}"):
        inside = text[len(_BOX) : -1].strip()
        if inside.startswith(_TEXT) and inside.endswith("}"):
            inside = inside[len(_TEXT) : -1]
    elif match := _TAGGED.fullmatch(text) or _FENCED.fullmatch(text):
        inside = match[2]
    elif match := _LABELLED.fullmatch(text):
        inside = match[1]
    return inside.strip() or None
