"""Kinds of instruction that the program poses itself, with their wordings and the values of their parameters.

They can stand in files as well. Words are runs of letters, digits and straight apostrophes here, and letters and words
are compared in lower case unless the kind is about case. The rules of `prose.py` count some texts differently (Han
characters, curly apostrophes, ß).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from prorl_mega.tasks.instruction import look_alikes, strict_json, visible
from prorl_mega.tasks.instruction import parameter_rules as rule
from prorl_mega.tasks.instruction.instruction_check import InstructionCheck

_NOUNS = (
    "ant bag bat bed bell bird boat book bread bus cake cat cup desk dog door drum duck egg farm fish flag fox frog "
    "gate goat hat hen hill ice jam key king lake lamp leaf lion map milk moon nest nut owl pan park pen pig pond "
    "queen rain ring road rock rose sand ship sky snow star sun tent tree van wolf yard zoo "
)
VOCABULARY = tuple(_NOUNS.split())
_FEW, _LETTERS = range(2, 6), "aeionrstldg"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BULLET = re.compile(r"^[*-] +\S", re.MULTILINE)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _counts(text: str) -> tuple[int, ...]:
    return visible.counts(lambda reading: len(_words(reading)))(text)


def _absent(text: str, word: str) -> bool:
    return not any(word in _words(each) for each in visible.readings(text))


def _times(text: str, word: str) -> tuple[int, ...]:
    return visible.required(lambda reading: _words(reading).count(word))(text)


def _every_letter(text: str, holds: Callable[[str], bool]) -> bool:
    letters = "".join(filter(str.isalpha, text))
    return bool(letters) and all(map(holds, letters + look_alikes.as_latin(letters)))


def _quoted(text: str) -> bool:
    return len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1] and bool(text[1:-1].strip())


def _json_object(text: str, word: str) -> bool:
    try:
        value = strict_json.read(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == [word]


def _check(follows: Callable[..., bool], full: str, short: str, **drawn: Sequence[Any]) -> InstructionCheck:
    rules = {
        "count": rule.COUNT,
        "word": lambda value: rule.single_word(value).lower(),
        "letter": lambda value: rule.character(value).lower(),
    }
    parameters = {name: rules[name] for name in drawn}
    return InstructionCheck(follows=follows, parameters=parameters, full=full, short=short, drawn=drawn)


GENERATED_CHECKS: dict[str, InstructionCheck] = {
    "words": _check(
        lambda text, count: set(_counts(text)) == {count}, "Use exactly {count} words.", "{count} words", count=_FEW
    ),
    "min_words": _check(
        lambda text, count: min(_counts(text)) >= count, "Use at least {count} words.", "min {count} words", count=_FEW
    ),
    "max_words": _check(
        lambda text, count: max(_counts(text)) <= count, "Use at most {count} words.", "max {count} words", count=_FEW
    ),
    "include_word": _check(
        lambda text, word: word in _words(text), 'Include the word "{word}".', "use {word}", word=VOCABULARY
    ),
    "forbid_word": _check(_absent, 'Do not use the word "{word}".', "not {word}", word=VOCABULARY),
    "repeat_word": _check(
        lambda text, word, count: _times(text, word) == (count, count),
        'Use the word "{word}" exactly {count} times.',
        "{word} {count} times",
        word=VOCABULARY,
        count=range(2, 4),
    ),
    "only_repeat": _check(
        lambda text, word, count: _words(text) == [word] * count,
        'Write "{word}" {count} times and nothing else.',
        "only {word} {count} times",
        word=VOCABULARY,
        count=range(2, 5),
    ),
    "include_letter": _check(
        lambda text, letter, count: text.lower().count(letter) >= count,
        'The letter "{letter}" must appear at least {count} times.',
        "min {count} {letter}",
        letter=_LETTERS,
        count=range(1, 4),
    ),
    "forbid_letter": _check(
        lambda text, letter: not any(letter in each.lower() for each in visible.readings(text)),
        'Do not use the letter "{letter}".',
        "no {letter}",
        letter=_LETTERS,
    ),
    "start_word": _check(
        lambda text, word: _words(text)[:1] == [word],
        'The first word must be "{word}".',
        "start {word}",
        word=VOCABULARY,
    ),
    "end_word": _check(
        lambda text, word: _words(text)[-1:] == [word], 'The last word must be "{word}".', "end {word}", word=VOCABULARY
    ),
    "uppercase": _check(lambda text: _every_letter(text, str.isupper), "Write capital letters only.", "upper"),
    "lowercase": _check(
        lambda text: _every_letter(text, str.islower), "Write small letters only, no capitals.", "lower"
    ),
    "bullets": _check(
        lambda text, count: len(_BULLET.findall(text)) == count == len(text.splitlines()),
        'Write a list of exactly {count} lines, each beginning with "* ".',
        "{count} bullets",
        count=range(2, 4),
    ),
    "quotes": _check(_quoted, "Put the whole text in double quotation marks.", "quote"),
    "json": _check(_json_object, 'Write a JSON object whose only key is "{word}".', "json {word}", word=VOCABULARY),
    "no_commas": _check(lambda text: not visible.has_comma(text), "Do not use commas.", "no commas"),
}
