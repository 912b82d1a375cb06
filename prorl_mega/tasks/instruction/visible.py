"""The text that a reader sees: without markup, character references and invisible characters, letters as they look.

What must not be there is judged by this text as well as by the characters, what must be there by the characters: a
forbidden word is refused with a Cyrillic letter or in two colours, and a required one does not count so.

Seen alike are: styled letters, look-alikes of other scripts, marks on letters, soft hyphens and zero-width characters,
HTML and BBCode tags, character references, Markdown's emphasis and links, LaTeX's text commands. Not undone is
what a reader sees as well: `g-o-o-d`, `g00d`, `go_od`, and accents that make another letter (`r\u00e9sum\u00e9`).
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable

from prorl_mega.tasks.instruction.look_alikes import as_latin

_TAG = re.compile(r"(?<!<)(?:<!--(?:(?!-->)[\s\S]){0,300}-->|</?([a-zA-Z][\w:-]{0,40})(?:\s[^<>]{0,300})?/?>)(?!>)")
_CLOSED = re.compile(r"</([a-zA-Z][\w:-]{0,40})\s*>")
_APART = "address blockquote br center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p pre section table tbody td th tr ul"
_INSIDE = "a abbr b bdi bdo big code del em font i ins kbd mark q s samp small span strike strong sub sup tt u var wbr"
_BLOCKS, _INLINE = frozenset(_APART.split()), frozenset(_INSIDE.split())
_BB_TAG = re.compile(r"\[/?(?:b|i|u|s|color|size|font|url)(?:=[^\[\]\n]{0,80})?\]", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,12};?|#[xX][0-9a-fA-F]{1,12};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_LINK = re.compile(r"!?\[([^\[\]\n]{1,300})\]\([^()\s]{0,300}\)")
_EMPHASIS = re.compile(r"(\*{1,3}|~{1,2}|`{1,2})(?=[^\s*~`])([^*~`\n]{1,300})(?<!\s)\1")
_UNDERLINED = re.compile(r"(?<![^\W_])_{1,3}(?=[^\W_])|(?<=[^\W_])_{1,3}(?![^\W_])")
_LATEX = re.compile(r"\\(?:text|math|emph|underline)[a-z]{0,10}\{([^{}\n]{0,300})\}")
_MATHEMATICS = re.compile(r"(?:\$|\\\()([A-Za-z]{1,40})(?:\$|\\\))")
_LIKE_COMMA = re.compile("\\w[\u201a\u00b8\u275f\ua4f9]|[^dDgGkKlLnNrRsStT]\u0326")


@functools.lru_cache(maxsize=8)
def shown(text: str) -> str:
    """The text as it is seen."""
    if "<" in text:
        closed = frozenset(map(str.lower, _CLOSED.findall(text)))
        text = _TAG.sub(lambda tag: _instead(tag, closed), text)
    text = _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)
    text = _LINK.sub(r"\1", _BB_TAG.sub("", text) if "[/" in text else text)
    text = _MATHEMATICS.sub(r"\1", _LATEX.sub(r"\1", text))
    text = _EMPHASIS.sub(lambda part: part[2] if any(map(str.isalpha, part[2])) else part[0], text)
    return as_latin(_UNDERLINED.sub("", text))


def readings(text: str) -> tuple[str, ...]:
    """The text as it is written and, if that is not the same, as it is seen."""
    return (text,) if shown(text) == text else (text, shown(text))


def counts(count: Callable[..., int]) -> Callable[..., tuple[int, ...]]:
    """The count in each reading, of what a text may have too few or too many of."""
    return lambda text, **parameters: tuple(count(each, **parameters) for each in readings(text))


def required(count: Callable[..., int]) -> Callable[..., tuple[int, ...]]:
    """The count in the text as it is written, and the largest of its readings: what is only seen may be too much, and
    does not make up for what is missing.
    """

    def both(text: str, **parameters: object) -> tuple[int, ...]:
        text = without_comments(text)  # which hide what must be there
        found = counts(count)(text, **parameters)
        return found[0], max(found)

    return both


def without_comments(text: str) -> str:
    """The text without the comments of HTML that are closed."""
    pieces, place = [], 0
    while (start := text.find("<!--", place)) >= 0 and (end := text.find("-->", start)) >= 0:
        pieces.append(text[place:start])
        place = end + len("-->")
    return "".join([*pieces, text[place:]])


def has_comma(text: str) -> bool:
    """Whether there is a comma of any script; a low quotation mark or a cedilla behind a word looks like one, as does a
    comma below a letter that has none in any alphabet.
    """
    return _has_mark(text, r"COMMA$") or any(map(_LIKE_COMMA.search, readings(text)))


def has_full_stop(text: str) -> bool:
    """Whether there is a full stop of any script, or several as one character."""
    return _has_mark(text, r"(?:FULL STOP|DANDA|DOT LEADER|HORIZONTAL ELLIPSIS)$")


def has_exclamation_mark(text: str) -> bool:
    """Whether there is an exclamation mark of any script."""
    return _has_mark(text, "EXCLAMATION")


def _has_mark(text: str, name: str) -> bool:
    """Whether a character that is no letter has such a name in Unicode, in one of the readings."""
    characters = set().union(*readings(text))
    marks = (each for each in characters if unicodedata.category(each)[0] not in "LM")
    return any(re.search(name, unicodedata.name(each, "")) for each in marks)


def _instead(tag: re.Match[str], closed: frozenset[str]) -> str:
    """Nothing or a blank for an element of HTML or one that is closed somewhere; other text in angles stays."""
    name = (tag[1] or "").lower()
    if name in _BLOCKS:
        return " "
    return "" if not name or name in _INLINE or name in closed else tag[0]
