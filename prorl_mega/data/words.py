"""Normal forms in which texts are compared."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A run of letters and digits; a character of a script that puts no blanks between words is one of its own."""


_LAYOUT = re.compile(r"\$|\\(?:left|right|displaystyle|[,;:! ])")
_AROUND_SIGNS = re.compile(r"\s*([^\w\s])\s*")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without signs."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


def normalised(text: str) -> str:
    """A prompt without case and layout; signs stay, because 3+4 and 3-4 are different problems."""
    text = _LAYOUT.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    return _AROUND_SIGNS.sub(r"\1", " ".join(text.split())).rstrip(".?!: ")
