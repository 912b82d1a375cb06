"""Words, sentences and paragraphs of what a model wrote, by rules of our own. All functions are linear in the text.

- A word is a run of letters and digits, with apostrophes inside (`don't` is one word, `well-known` are two). A Han,
  Hiragana or Katakana character is a word of its own, because these scripts put no blanks between words.
- A sentence ends at `.`, `!`, `?`, `…` or their counterparts in other scripts, with the quotes and brackets that it
  closes, when a blank or the end follows; at a blank line; before the line of a list item, and around a heading. A full
  stop does not end one after an abbreviation (`Dr.`, `e.g.`), after an initial (`J.`) or after the number of a list
  item (`2.` at the start of a line), nor inside a number. What has no letter and no digit is no sentence.
- Paragraphs are separated by blank lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # kana and Han
JOINED = _UNSPACED + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Ranges of the letters of scripts that put no blanks between words: these, Thai, Lao, Burmese, Khmer."""
_BOUNDED = re.compile(rf"[^\W{JOINED}]")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['\u2019][^\W_{_UNSPACED}]+)*")
_STOP = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019\u00bb)\]*_]{0,4}+(?=\s|$)|[\u3002\uff01\uff1f\u0964\u06d4\u061f]+"
)
_ITEM = re.compile(r"[ \t]*(?:[-*\u2022+][ \t]|#{1,6}[ \t]|\d{1,3}[.)][ \t])")
_NUMBER_OF_ITEM = re.compile(r"\d{1,3}\.")
_LAST_TOKEN = re.compile(r"[^\s(\[\"'\u201c]*$")
_NEVER_LAST = "mr mrs ms dr prof st vs approx e.g i.e al dept est jan feb mar apr jun jul aug sep sept oct nov dec p.s"
_MAY_BE_LAST = "etc a.m p.m u.s u.k u.n ph.d m.d b.c a.d inc ltd co corp jr sr"  # it was last if a capital follows
_BEFORE_NUMBERS = "no fig vol"
_BEGIN = "A An And But He Here How I If In It My No Now Our She So That The Then There These They This We What When You"
_CAPITAL = "A-Z\u00c0-\u00de\u0391-\u03a9\u0410-\u042f"
_ABBREVIATIONS, _UNITS, _LABELS = (frozenset(row.split()) for row in (_NEVER_LAST, _MAY_BE_LAST, _BEFORE_NUMBERS))
_LETTER = rf"(?!I\.)[{_CAPITAL}]\."
_SHORTENED = rf"(?:(?<=\S[ ]){_LETTER}|\b(?i:{'|'.join(map(re.escape, _NEVER_LAST.split()[:-1]))})\.)"
_NAME = rf"(?:[{_CAPITAL}]\.\s{{0,3}}){{0,4}}[{_CAPITAL}][^\W\d_]"
_BEGINNING = rf"(?:{'|'.join(_BEGIN.split())})\b(?!\.)"
_DOUBTFUL = re.compile(
    rf"{_SHORTENED}(?=\s{{1,4}}{_BEGINNING})|(?<=[a-z])\.(?={_BEGINNING})|(?<=[a-z])[!?](?=[A-Z][a-z])"
    rf"|(?<![^\s(\[\"'\u201c]){_LETTER}(?=\s{{1,4}}[{_CAPITAL}]\.(?!\s{{0,3}}{_NAME}))"
)


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def lowered(text: str) -> list[str]:
    return [word.casefold().replace("\u2019", "'") for word in words(text)]


def paragraphs(text: str) -> list[str]:
    """Blocks of lines between blank lines, stripped."""
    blocks = groupby(text.splitlines(), key=lambda line: bool(line.strip()))
    return ["\n".join(lines).strip() for filled, lines in blocks if filled]


def sentences(text: str) -> list[str]:
    """The sentences by the rules above; stripped, without those that have no letter and no digit."""
    found = (part.strip() for block in _blocks(text) for part in _split(block))
    return [part for part in found if any(character.isalnum() for character in part)]


def doubtful_ends(text: str) -> int:
    """The number of stops that may end a sentence where `sentences` sees no end: after a letter that is no initial of
    a name (`A. B. C.`), after an abbreviation before a word that begins sentences, without a blank (`It rained.We
    left.`).
    """
    return len(_DOUBTFUL.findall(text))


def occurrences(text: str, keyword: str) -> int:
    """The number of times a word or phrase (not blank) occurs as a whole (not inside a longer word), in any case.

    In scripts without blanks between words any occurrence counts. Occurrences do not overlap. An underscore belongs to
    a word inside of it (`snake_case`), not around it (`_snake_`).
    """
    wanted = " ".join(keyword.split())
    before = r"(?<![^\W_])(?<![^\W_]_)" if _BOUNDED.match(wanted[0]) else ""
    after = r"(?![^\W_])(?!_[^\W_])" if _BOUNDED.match(wanted[-1]) else ""
    return len(re.findall(before + re.escape(wanted) + after, " ".join(text.split()), re.IGNORECASE))


def _blocks(text: str) -> Iterator[str]:
    """Parts of the text that no sentence crosses."""
    block: list[str] = []
    for line in text.splitlines():
        if not line.strip() or _ITEM.match(line):
            yield "\n".join(block)
            block = []
        block.append(line)
        if line.lstrip().startswith("#"):
            yield "\n".join(block)
            block = []
    yield "\n".join(block)


def _split(block: str) -> Iterator[str]:
    start = 0
    for stop in _STOP.finditer(block):
        if _ends(block, stop.start(), stop.end(), stop[0]):
            yield block[start : stop.end()]
            start = stop.end()
    yield block[start:]


def _ends(block: str, at: int, after: int, mark: str) -> bool:
    """Whether the mark at `at` ends a sentence."""
    if not mark.startswith(".") or mark.startswith(".."):
        return True
    last = _LAST_TOKEN.search(block, max(0, at - 24), at)
    token = last[0] if last else ""
    line_start = block.rfind("\n", max(0, at - 8), at) + 1 if "\n" in block[max(0, at - 8) : at] else 0
    if _NUMBER_OF_ITEM.fullmatch(block[line_start : at + 1].strip()) and (line_start or at < 8):
        return False
    if len(token) == 1 and token.isalpha() and token.isupper() and token != "I":
        return False
    word, following = token.casefold(), block[after : after + 4].strip()[:1]
    if word in _UNITS:
        return following.isupper()
    if word in _LABELS:
        return not following.isdigit()
    return word not in _ABBREVIATIONS
