"""Kinds of instruction that a text can be checked against, each with its check, its wording and its parameters.

A constraint is plain data: {"kind": "words", "count": 4}. Words are runs of letters, digits and apostrophes; letters
and words are compared without regard to case unless the kind is about case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Constraint = dict[str, Any]

# fmt: off
VOCABULARY = (
    "ant", "bag", "bat", "bed", "bell", "bird", "boat", "book", "bread", "bus", "cake", "cat", "cup", "desk", "dog",
    "door", "drum", "duck", "egg", "farm", "fish", "flag", "fox", "frog", "gate", "goat", "hat", "hen", "hill", "ice",
    "jam", "key", "king", "lake", "lamp", "leaf", "lion", "map", "milk", "moon", "nest", "nut", "owl", "pan", "park",
    "pen", "pig", "pond", "queen", "rain", "ring", "road", "rock", "rose", "sand", "ship", "sky", "snow", "star",
    "sun", "tent", "tree", "van", "wolf", "yard", "zoo",
)
# fmt: on
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BULLET = re.compile(r"^[*-] +\S", re.MULTILINE)


@dataclass(kw_only=True, slots=True, frozen=True)
class Kind:
    """`holds(text, constraint)`, the wordings, and `draw(random)`, which invents parameters."""

    holds: Callable[[str, Constraint], bool]
    full: Callable[[Constraint], str]
    short: Callable[[Constraint], str]
    draw: Callable[[Random], dict[str, Any]]


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def satisfied(text: str, constraints: list[Constraint]) -> list[bool]:
    """One truth value per constraint. Blank text satisfies nothing."""
    if not text.strip():
        return [False] * len(constraints)
    return [KINDS[constraint["kind"]].holds(text.strip(), constraint) for constraint in constraints]


def _lowered(text: str) -> list[str]:
    return [word.lower() for word in words(text)]


def _starts(text: str, constraint: Constraint) -> bool:
    return _lowered(text)[:1] == [constraint["word"]]


def _ends(text: str, constraint: Constraint) -> bool:
    return _lowered(text)[-1:] == [constraint["word"]]


def _all_case(text: str, upper: bool) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return bool(letters) and all(letter.isupper() if upper else letter.islower() for letter in letters)


def _quoted(text: str, constraint: Constraint) -> bool:
    return len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1] and bool(text[1:-1].strip())


def _json_object(text: str, constraint: Constraint) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and list(value) == [constraint["word"]]


def _repeats(text: str, constraint: Constraint) -> bool:
    """The text is nothing but the phrase, `count` times."""
    return _lowered(text) == constraint["word"].split() * constraint["count"]


def _small(random: Random) -> dict[str, Any]:
    return {"count": random.randint(2, 5)}


def _word(random: Random) -> dict[str, Any]:
    return {"word": random.choice(VOCABULARY)}


def _letter(random: Random) -> dict[str, Any]:
    return {"letter": random.choice("aeionrstldg")}


def _nothing(random: Random) -> dict[str, Any]:
    return {}


KINDS: dict[str, Kind] = {
    "words": Kind(
        holds=lambda text, c: len(words(text)) == c["count"],
        full=lambda c: f"Use exactly {c['count']} words.",
        short=lambda c: f"{c['count']} words",
        draw=_small,
    ),
    "min_words": Kind(
        holds=lambda text, c: len(words(text)) >= c["count"],
        full=lambda c: f"Use at least {c['count']} words.",
        short=lambda c: f"min {c['count']} words",
        draw=_small,
    ),
    "max_words": Kind(
        holds=lambda text, c: len(words(text)) <= c["count"],
        full=lambda c: f"Use at most {c['count']} words.",
        short=lambda c: f"max {c['count']} words",
        draw=_small,
    ),
    "include_word": Kind(
        holds=lambda text, c: c["word"] in _lowered(text),
        full=lambda c: f'Include the word "{c["word"]}".',
        short=lambda c: f"use {c['word']}",
        draw=_word,
    ),
    "forbid_word": Kind(
        holds=lambda text, c: c["word"] not in _lowered(text),
        full=lambda c: f'Do not use the word "{c["word"]}".',
        short=lambda c: f"not {c['word']}",
        draw=_word,
    ),
    "repeat_word": Kind(
        holds=lambda text, c: _lowered(text).count(c["word"]) == c["count"],
        full=lambda c: f'Use the word "{c["word"]}" exactly {c["count"]} times.',
        short=lambda c: f"{c['word']} {c['count']} times",
        draw=lambda random: {"word": random.choice(VOCABULARY), "count": random.randint(2, 3)},
    ),
    "only_repeat": Kind(
        holds=_repeats,
        full=lambda c: f'Write "{c["word"]}" {c["count"]} times and nothing else.',
        short=lambda c: f"only {c['word']} {c['count']} times",
        draw=lambda random: {"word": random.choice(VOCABULARY), "count": random.randint(2, 4)},
    ),
    "include_letter": Kind(
        holds=lambda text, c: text.lower().count(c["letter"]) >= c["count"],
        full=lambda c: f'The letter "{c["letter"]}" must appear at least {c["count"]} times.',
        short=lambda c: f"min {c['count']} {c['letter']}",
        draw=lambda random: {**_letter(random), "count": random.randint(1, 3)},
    ),
    "forbid_letter": Kind(
        holds=lambda text, c: c["letter"] not in text.lower(),
        full=lambda c: f'Do not use the letter "{c["letter"]}".',
        short=lambda c: f"no {c['letter']}",
        draw=_letter,
    ),
    "start_word": Kind(
        holds=_starts,
        full=lambda c: f'The first word must be "{c["word"]}".',
        short=lambda c: f"start {c['word']}",
        draw=_word,
    ),
    "end_word": Kind(
        holds=_ends,
        full=lambda c: f'The last word must be "{c["word"]}".',
        short=lambda c: f"end {c['word']}",
        draw=_word,
    ),
    "uppercase": Kind(
        holds=lambda text, c: _all_case(text, upper=True),
        full=lambda c: "Write capital letters only.",
        short=lambda c: "upper",
        draw=_nothing,
    ),
    "lowercase": Kind(
        holds=lambda text, c: _all_case(text, upper=False),
        full=lambda c: "Write small letters only, no capitals.",
        short=lambda c: "lower",
        draw=_nothing,
    ),
    "bullets": Kind(
        holds=lambda text, c: len(_BULLET.findall(text)) == c["count"] == len(text.splitlines()),
        full=lambda c: f'Write a list of exactly {c["count"]} lines, each beginning with "* ".',
        short=lambda c: f"{c['count']} bullets",
        draw=lambda random: {"count": random.randint(2, 3)},
    ),
    "quotes": Kind(
        holds=_quoted,
        full=lambda c: "Put the whole text in double quotation marks.",
        short=lambda c: "quote",
        draw=_nothing,
    ),
    "json": Kind(
        holds=_json_object,
        full=lambda c: f'Write a JSON object whose only key is "{c["word"]}".',
        short=lambda c: f"json {c['word']}",
        draw=_word,
    ),
    "no_commas": Kind(
        holds=lambda text, c: "," not in text,
        full=lambda c: "Do not use commas.",
        short=lambda c: "no commas",
        draw=_nothing,
    ),
}
