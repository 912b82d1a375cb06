"""Characters that a reader takes for Latin letters, and characters that nobody sees.

Styled letters (full-width, bold, circled, small capitals) are found by their compatibility forms and their names. The
letters of other scripts that look like Latin ones are listed; they count as Latin only in words that have Latin letters
or in texts that are mostly Latin, so that Russian and Greek stay what they are.
"""

from __future__ import annotations

import functools
import re
import unicodedata

_NAMED = re.compile(
    r"(?:LATIN (?:SMALL|CAPITAL) LETTER|LATIN SMALL LETTER (?:SCRIPT|DOTLESS)|LATIN LETTER SMALL CAPITAL|"
    r"NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER) ([A-Z])(?: WITH .+)?"
)
_OTHER_LETTERS = re.compile("[\u00c0-\u017f\u01cd-\u01dc\u0218-\u021b\u1ea0-\u1ef9]")  # of alphabets
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u3164\uffa0")  # drawn as nothing
_REGIONAL = re.compile("(?<![\U0001f1e6-\U0001f1ff])(?:[\U0001f1e6-\U0001f1ff]|[\U0001f1e6-\U0001f1ff]{3,})"
                       "(?![\U0001f1e6-\U0001f1ff])")  # two of them are a flag  # fmt: skip
_MARKED = re.compile("(?<=[A-Za-z\u00c0-\u024f])[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+")
_WORD = re.compile(r"[^\W_]+")
_LATIN = re.compile("[A-Za-z]")
_PAIRS = (
    "\u0430a \u0432b \u044cb \u0441c \u0501d \u0435e \u04bbh \u043dh \u0456i \u0458j \u043ak \u04cfl \u043cm \u043fn "
    "\u043eo \u0440p \u051bq \u0433r \u0455s \u0442t \u0475v \u051dw \u0445x \u0443y \u0410A \u0412B \u0421C \u0415E "
    "\u041dH \u0406I \u0408J \u041aK \u041cM \u041eO \u0420P \u0405S \u0422T \u0425X \u0423Y \u04aeY \u050cG \u051aQ "
    "\u051cW \u0474V \u03b1a \u03b2b \u03b5e \u03b7n \u03b9i \u03bak \u03bdv \u03bfo \u03c1p \u03c4t \u03c5u \u03c7x "
    "\u03b3y \u03c9w \u03f3j \u0391A \u0392B \u0395E \u0396Z \u0397H \u0399I \u039aK \u039cM \u039dN \u039fO \u03a1P "
    "\u03a4T \u03a5Y \u03a7X \u0585o \u0578n \u057du \u0570h \u0581g \u0566q \u0575j \u0561w \u0555O \u054fS \u0544U "
    "\u13aaA \u13f4B \u13dfC \u13a0D \u13acE \u13c0G \u13bbH \u13a5i \u13abJ \u13e6K \u13deL \u13b7M \u13e2P \u13d2R "
    "\u13daS \u13a2T \u13d9V \u13b3W \u13c3Z \ua4d0B \ua4d1P \ua4d3D \ua4d4T \ua4d6G \ua4d7K \ua4d9J \ua4daC \ua4dcZ "
    "\ua4ddF \ua4dfM \ua4e0N \ua4e1L \ua4e2S \ua4e3R \ua4e6V \ua4e7H \ua4eaW \ua4ebX \ua4ecY \ua4eeA \ua4f0E \ua4f2I "
    "\ua4f3O \ua4f4U \u03c3o \u2c81a \u2c9fo \u2ca3p \u2ca5c \u10ffo \u05e1o \u0d20o \u101do \u0966o \u09e6o \u0a66o "
    "\u0ae6o \u0ce6o \u0d66o \u0e50o \u0ed0o \u1040o \u17e0o"
)
_OF_OTHER_SCRIPTS = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
_SUSPICIOUS = re.compile(f"[{''.join(map(chr, _OF_OTHER_SCRIPTS))}]")


def as_latin(text: str) -> str:
    """The text without invisible characters and without marks that were put on Latin letters one by one; what looks
    like a Latin letter is one. Letters of alphabets (`é`, `ø`), numbers and punctuation stay.
    """
    if text.isascii():
        return text
    text = _MARKED.sub("", text)
    text = _REGIONAL.sub(lambda run: "".join(chr(ord(each) - 0x1F1E6 + ord("A")) for each in run[0]), text)
    text = text.translate({ord(each): _drawn(each) for each in set(text) if not each.isascii()})
    if not _SUSPICIOUS.search(text):
        return text
    mostly = 2 * len(_LATIN.findall(text)) > sum(map(str.isalpha, text))
    return _WORD.sub(lambda word: _word(word[0], mostly), text)


def _word(word: str, mostly_latin: bool) -> str:
    """The word in Latin letters if it may be meant as such; a single Greek letter is a symbol."""
    meant = _LATIN.search(word) or (mostly_latin and len(word) > 1)
    return word.translate(_OF_OTHER_SCRIPTS) if meant else word


@functools.lru_cache(maxsize=1 << 13)
def _drawn(character: str) -> str:
    """The one Latin letter or digit that a character is a form of, nothing if it is not drawn, else the character."""
    category = unicodedata.category(character)
    if category in ("Cf", "Cc", "Cs", "Co") or character in _FILLERS or "\ufe00" <= character <= "\ufe0f":
        return ""
    if category[0] not in "LNS" or _OTHER_LETTERS.match(character):
        return character
    plain = unicodedata.normalize("NFKC", character)
    if category[0] == "L" and plain.isascii():
        return plain
    if len(plain) == 1 and plain != character:
        return _drawn(plain)
    named = _NAMED.fullmatch(unicodedata.name(character, ""))
    if named is None:
        return {"\u0251": "a", "\u0269": "i", "\u01c0": "l", "\u01c3": "!"}.get(character, character)
    return named[1].lower() if " SMALL LETTER " in unicodedata.name(character) else named[1]
