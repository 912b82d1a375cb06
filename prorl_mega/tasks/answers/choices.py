"""Multiple choice: the option that an answer names by letter, by text, or by both if they agree."""

from __future__ import annotations

import re

from prorl_mega.tasks.answers.phrases import formula, phrase
from prorl_mega.tasks.answers.quantities import matches, quantity

SAME = 1e-9  # relative tolerance between quantities: options may be close to each other
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_DRESS = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|boxed|fbox)\s?\{([^{}]*)\}")
_EMPHASIS = re.compile(r"\*(.+)\*", re.DOTALL)
_LABEL = r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)(?:\s+is)?\s*:?\s*)?"
_LETTER = re.compile(rf"{_LABEL}[(\[]?\s?([A-Za-z])\s?[)\]]?\s?[.:)]?", re.IGNORECASE | re.ASCII)
_LETTER_AND_TEXT = re.compile(rf"{_LABEL}(?:[(\[]\s?([A-Z])\s?[)\]]\s?[.:]?|([A-Z])\s?[.):])\s*(\S.*)", re.DOTALL)


def chosen(answer: str, options: list[str]) -> int | None:
    """Index of the option that an answer names; None if it names none or several.

    A single letter is a label if there is such a label, even if the options are letters themselves.
    """
    plain = answer.strip()
    while (undressed := _DRESS.sub(r"\1", plain)) != plain:
        plain = undressed
    plain = plain.strip(" \t\n$")
    while match := _EMPHASIS.fullmatch(plain):
        plain = match[1].strip()
    if (match := _LETTER.fullmatch(plain)) and LETTERS.index(match[1].upper()) < len(options):
        return LETTERS.index(match[1].upper())
    if match := re.fullmatch(r"([A-Z])\s+(\S.*)", plain):  # "A green": article or label?
        place = _by_text(match[2], options)
        if place is not None and LETTERS[place] != match[1] and plain not in options:
            return None
    if (place := _by_text(plain, options)) is not None:
        return place
    if match := _LETTER_AND_TEXT.fullmatch(plain):
        place = LETTERS.index(match[1] or match[2])
        if place < len(options) and _same(options[place], match[3]):
            return place
    return None


def _by_text(text: str, options: list[str]) -> int | None:
    """The one option that has this text, or this quantity."""
    places = [place for place, option in enumerate(options) if _same(option, text)]
    return places[0] if len(places) == 1 else None


def _same(option: str, text: str) -> bool:
    wanted, given = quantity(option), quantity(text)
    if wanted is not None and given is not None:
        return (wanted.unit is None) == (given.unit is None) and matches(wanted, given, SAME)
    if (chemical := formula(option)) is not None:
        return formula(text) == chemical
    return bool(phrase(option)) and phrase(option) == phrase(text)


def listed(options: list[str]) -> str:
    """The options as text for a prompt."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
