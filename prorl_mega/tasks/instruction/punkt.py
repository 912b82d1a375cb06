"""Sentences as the Punkt algorithm finds them with its English model, which is what IFEval's published checker counts.

Kiss & Strunk, "Unsupervised Multilingual Sentence Boundary Detection", Computational Linguistics 32(4), 2006. Only its
decisions are here, not its training. `punkt_english.json.gz` holds the figures of the published English model (Jan
Strunk, punkt_tab of nltk_data, MIT License): abbreviations, pairs of words that belong together, words that begin
sentences, and what is known about the first letters of words. The result is that of NLTK 3.9.1, with which most
published numbers were made; `benchmarks/ifeval_agreement.py` compares.

Tasks that are our own use `prose.sentences`, which knows lists, headings and other scripts.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_MODEL = Path(__file__).with_name("punkt_english.json.gz")
_NUMBER = "##number##"  # the type of all numbers in the model
_CLOSING = "\"')]}"
_PUNCTUATION = re.escape(_CLOSING + ";*:@({[?!")  # never inside a word
_SEVERAL = r"-{2,}|\.{2,}|(?:\.\s){2,}\."  # dashes and ellipses
_WORD_END = rf"\s|$|[{_PUNCTUATION}]|{_SEVERAL}"
_TOKEN = re.compile(rf"{_SEVERAL}|[^(\"`{{\[:;&#*@)}}\]\-,\s]\S*?(?={_WORD_END}|,(?:{_WORD_END}))|\S")
_MARK = re.compile(rf"[.?!](?=[{_PUNCTUATION}]|\s+(?P<next>\S+))")
_CLOSED = re.compile(rf"[{re.escape(_CLOSING)}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_NUMERIC = re.compile(r"-?[.,]?\d[\d,.-]*\.?")


@dataclass(slots=True, frozen=True)
class _Model:
    abbreviations: frozenset[str]
    collocations: frozenset[tuple[str, str]]  # types before and after a full stop that does not end a sentence
    starters: frozenset[str]
    lower: frozenset[str]  # types seen with a small first letter ...
    capital_inside: frozenset[str]  # ... of these, seen with a capital one inside sentences as well
    begins_lower: frozenset[str]  # ... of these, seen at the begin of sentences and never with a capital one


@dataclass(slots=True)
class _Token:
    text: str
    abbreviation: bool
    ends: bool  # whether a sentence ends with it

    @property
    def type(self) -> str:
        """The text in lower case; without a full stop that ends the sentence."""
        kind = self.text.lower()
        if _NUMERIC.fullmatch(kind):
            return _NUMBER
        return kind[:-1] if self.ends and len(kind) > 1 and kind.endswith(".") else kind


@functools.cache
def model() -> _Model:
    """The English model, read once."""
    read = json.loads(gzip.decompress(_MODEL.read_bytes()))
    return _Model(
        abbreviations=frozenset(read["abbreviations"]),
        collocations=frozenset(map(tuple, read["collocations"])),
        starters=frozenset(read["starters"]),
        **{name: frozenset(read[name].split()) for name in ("lower", "capital_inside", "begins_lower")},
    )


def sentences(text: str) -> list[str]:
    """The sentences of a text; marks that close a sentence (quotes, brackets) belong to it."""
    spans, found, moved = [*_spans(text)], [], 0
    for place, (start, end) in enumerate(spans):
        start, moved = start + moved, 0
        following = spans[place + 1] if place + 1 < len(spans) else None
        if following and (closed := _CLOSED.match(text[slice(*following)])):
            moved = closed.end()
            end = following[0] + len(closed[0].rstrip())
        found.append(text[start:end])
    return [each for each in found if each]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for mark, context in _candidates(text):
        if _ends_inside(context):
            yield start, mark.end()
            start = mark.end() if mark["next"] is None else mark.start("next")
    yield start, len(text.rstrip())


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Marks that may end a sentence, with the word before and what follows; of several in one word, the last."""
    last: re.Match[str] | None = None
    begin = at = 0  # of the word before the last mark
    for mark in _MARK.finditer(text):
        blank = max(text.rfind(each, at, mark.start()) for each in string.whitespace)
        new = blank + 1 if blank > at else begin
        if last and at <= new:
            yield last, text[begin : _context_end(last)]
        last, begin, at = mark, new, mark.start()
    if last:
        yield last, text[begin : _context_end(last)]


def _context_end(mark: re.Match[str]) -> int:
    return mark.end() + 1 if mark["next"] is None else mark.end("next")


def _ends_inside(context: str) -> bool:
    """Whether a sentence ends before the last token."""
    tokens = [_token(each) for line in context.split("\n") if line.strip() for each in _TOKEN.findall(line)]
    for token, following in pairwise(tokens):
        if token.text.endswith("."):
            token.ends = _full_stop_ends(token, following)
        if token.ends:
            return True
    return False


def _token(text: str) -> _Token:
    """The token as its text alone tells: a full stop ends a sentence unless it belongs to an abbreviation."""
    if not text.endswith(".") or text == ".":
        return _Token(text, abbreviation=False, ends=text in (".", "?", "!"))
    word = text[:-1].lower()
    known = model().abbreviations
    shortened = not text.endswith("..") and (word in known or word.rpartition("-")[2] in known)
    return _Token(text, abbreviation=shortened, ends=not (shortened or text.endswith("..")))


def _full_stop_ends(token: _Token, following: _Token) -> bool:
    """Section 4 of the paper: the decision with a look at the next word."""
    kind, bare = token.type, token.text.lower()
    if kind != _NUMBER and len(bare) > 1:
        kind = bare[:-1]
    next_type, capital = following.type, following.text[0].isupper()
    if (kind, next_type) in model().collocations:
        return False
    initial = len(token.text) == 2 and (token.text[0].isalpha() or token.text[0] == "_")
    starts = _starts_sentence(following)
    ellipsis = token.text == "." * len(token.text) and len(token.text) > 1
    if (token.abbreviation or ellipsis) and not initial and (starts or (capital and next_type in model().starters)):
        return True
    if initial or kind == _NUMBER:
        never_small = initial and capital and next_type not in model().lower
        if starts is False or (starts is None and never_small):
            return False
    return token.ends


def _starts_sentence(token: _Token) -> bool | None:
    """Whether the first letter says that a sentence begins here; None if it says nothing."""
    if token.text in (";", ":", ",", ".", "!", "?"):
        return False
    known, first = model(), token.text[0]
    if first.isupper() and token.type in known.lower and token.type not in known.capital_inside:
        return True
    if first.islower() and token.type not in known.begins_lower:
        return False
    return None
