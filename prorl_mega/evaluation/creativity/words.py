"""The words of a text, as a corpus and an answer are compared by them.

DJ Search (arXiv 2410.04265) transliterates to ASCII and splits with NLTK's tokenizer of casual text. Case counts there,
a punctuation mark is a word of its own and layout does not matter. The same holds here:

- A word is a run of letters, digits and underscores; apostrophes and hyphens before a letter belong to it (don't,
  well-known). A number keeps the points and commas inside of it (3.14). A character of a script that puts no blanks
  between words is a word. Any other sign is one, two or more points together are one.
- Blanks, tabs and newlines separate and are otherwise ignored.
- Unicode is brought to NFKC; typographic quotes, dashes and minus signs become those of ASCII. Letters keep their
  accents, unlike in a transliteration: café is not cafe.
- Control characters and invisible formatting are left out. Half of a surrogate pair counts as U+FFFD.

Answers of a few words, in a language of a model's own, are compared by characters instead: every one that is not blank
is a word.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

TOKENISATION = "words/1"  # of an index; changes with anything below
CHARACTERS = "characters/1"
TOKENISATIONS = (TOKENISATION, CHARACTERS)

_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\d++(?:[.,]\d++)+|[^\W{_ALONE}]++(?:['-][^\W\d_{_ALONE}][^\W{_ALONE}]*+)*+|\.\.++|\S")
_CHARACTER = re.compile(r"\S")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]+")
_AS_ASCII = str.maketrans(dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-"))


class PlacedWords(NamedTuple):
    """A text in normal form and its words with the characters that they take of it."""

    text: str
    words: list[str]  # [W]
    spans: list[tuple[int, int]]  # [W], first character and the one after the last


def normal_form(text: str) -> str:
    """The text as its words are taken from it."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_AS_ASCII)
        kinds = {each: unicodedata.category(each) for each in set(text) if each > "\x7f" and not each.isspace()}
        strange = {ord(each): "\ufffd" if kind == "Cs" else None for each, kind in kinds.items() if kind in _INVISIBLE}
        text = text.translate(strange) if strange else text
    return _CONTROL.sub("", text)


def words_of(text: str, tokenisation: str = TOKENISATION) -> list[str]:
    """The words of a text, in order."""
    return _pattern(tokenisation).findall(normal_form(text))


def placed_words(text: str, tokenisation: str = TOKENISATION) -> PlacedWords:
    """The words of a text with their places."""
    plain = normal_form(text)
    found = list(_pattern(tokenisation).finditer(plain))
    return PlacedWords(plain, [each[0] for each in found], [each.span() for each in found])


def _pattern(tokenisation: str) -> re.Pattern[str]:
    assert tokenisation in TOKENISATIONS, tokenisation
    return _CHARACTER if tokenisation == CHARACTERS else _WORD


_INVISIBLE = {"Cc", "Cf", "Cs"}
