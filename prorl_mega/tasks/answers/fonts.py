r"""Removal of font commands such as \text{...} and \mathrm{...}, nested or not, in one pass over the text."""

from __future__ import annotations

import re

_OPENING = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|operatorname|mbox|ce|si|SI|unit|rm|bf)\*?\s?\{"
    r"|(?<!\\)[{}]"
)


def unwrapped(text: str, blank: str = "") -> str:
    """The text with the contents of font commands in their place, with `blank` on both sides of each."""
    pieces: list[str] = []
    fonts: list[bool] = []  # for every open brace, whether it belongs to a font
    place = 0
    for match in _OPENING.finditer(text):
        token = match.group()
        if token == "}":
            is_font = fonts.pop() if fonts else False
        else:
            is_font = token != "{"
            fonts.append(is_font)
        if is_font:
            pieces += [text[place : match.start()], blank]
            place = match.end()
    return "".join([*pieces, text[place:]])
