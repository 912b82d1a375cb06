"""Kinds of instruction that came after IFEval, by the names under which public training sets write them, and our own.

The names with a colon are those of the IFEval-like training sets of 2025 (keywords:word_once, paragraphs:paragraphs2,
...); `ratio:` and `form:` are ours, as are the kinds of `constraints.py`, which can stand in files as well.
"""

from __future__ import annotations

import re
from typing import Any

from prorl_mega.tasks.instruction import constraints, prose
from prorl_mega.tasks.instruction.requirement import (
    Constraint,
    Requirement,
    character,
    compare,
    phrase,
    relation,
    single_word,
    whole_number,
)

_BRACKETED = re.compile(r"\[[^\[\]\s]+\]")
_TABLE_RULE = re.compile(r"^[ \t]*\|(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*$", re.MULTILINE)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def _once(text: str, constraint: Constraint) -> bool:
    return prose.occurrences(text, constraint["keyword"]) == 1


def _counted(text: str, constraint: Constraint) -> bool:
    return compare(prose.occurrences(text, constraint["keyword"]), constraint["relation"], constraint["frequency"])


def _absent(text: str, constraint: Constraint) -> bool:
    return prose.occurrences(text, constraint["keyword"]) == 0


def _same_ends(text: str, constraint: Constraint) -> bool:
    """First and last word are the same, and not the only one."""
    found = prose.lowered(text)
    return len(found) > 1 and found[0] == found[-1]


def _letter_total(text: str, constraint: Constraint) -> bool:
    return compare(sum(map(str.isalpha, text)), constraint["relation"], constraint["N"])


def _letter_count(text: str, constraint: Constraint) -> bool:
    count = text.casefold().count(constraint["letter"].casefold())
    return compare(count, constraint["let_relation"], constraint["let_frequency"])


def _two_blocks(text: str, constraint: Constraint) -> bool:
    return len(prose.paragraphs(text)) == 2


def _first_of_answer(text: str, constraint: Constraint) -> bool:
    return prose.lowered(text)[:1] == [constraint["first_word"].casefold()]


def _first_of_sentences(text: str, constraint: Constraint) -> bool:
    found = prose.sentences(text)
    return bool(found) and all(_first_of_answer(sentence, constraint) for sentence in found)


def _last_of_answer(text: str, constraint: Constraint) -> bool:
    return prose.lowered(text)[-1:] == [constraint["last_word"].casefold()]


def _last_of_sentences(text: str, constraint: Constraint) -> bool:
    found = prose.sentences(text)
    return bool(found) and all(_last_of_answer(sentence, constraint) for sentence in found)


def _no_dot(text: str, constraint: Constraint) -> bool:
    return not re.search("[.\u2026\u3002\u0964]", text)


def _no_exclamation(text: str, constraint: Constraint) -> bool:
    return not re.search("[!\u00a1\uff01]", text)


def _few_lowercase(text: str, constraint: Constraint) -> bool:
    return sum(word.islower() for word in prose.words(text)) <= constraint["N"]


def _unique(text: str, constraint: Constraint) -> bool:
    found = prose.lowered(text)
    return bool(found) and len(set(found)) == len(found)


def _brackets(text: str, constraint: Constraint) -> bool:
    """Every word stands in square brackets of its own."""
    parts = text.split()
    return all(_BRACKETED.fullmatch(part.rstrip(".,;:!?")) for part in parts)


def _copied(text: str, constraint: Constraint) -> bool:
    """The text of the prompt and nothing else; the number of blanks does not count."""
    return text.split() == constraint["prompt_to_repeat"].split()


def _one_type_to_token(text: str, constraint: Constraint) -> bool:
    found = prose.lowered(text)
    return len(found) >= constraint["min_words"] and 100 * len(set(found)) >= constraint["percent"] * len(found)


def _sentence_lengths(text: str, constraint: Constraint) -> bool:
    found = prose.sentences(text)
    return bool(found) and all(len(prose.words(each)) <= constraint["max_words"] for each in found)


def _table(text: str, constraint: Constraint) -> bool:
    """A Markdown table: a row of names, a rule, and at least so many rows of contents."""
    rule = _TABLE_RULE.search(text)
    if rule is None:
        return False
    columns = rule[0].count("|")
    head = text[: rule.start()].rstrip("\n").rpartition("\n")[2].strip()
    rows = 0
    for line in text[rule.end() :].lstrip("\n").splitlines():
        if not (line.strip().startswith("|") and line.count("|") == columns):
            break
        rows += any(map(str.isalnum, line))
    return head.startswith("|") and head.count("|") == columns and rows >= constraint["min_rows"]


def _emoji(text: str, constraint: Constraint) -> bool:
    return len(_EMOJI.findall(text)) >= constraint["count"]


def _kind(holds: Any, **parameters: Any) -> Requirement:
    return Requirement(holds=holds, parameters=parameters)


LATER: dict[str, Requirement] = {
    "keywords:word_once": _kind(_once, keyword=phrase),
    "keywords:word_count_different_numbers": _kind(
        _counted, keyword=phrase, frequency=whole_number(0), relation=relation
    ),
    "keywords:exclude_word_harder": _kind(_absent, keyword=phrase),
    "keywords:start_end": _kind(_same_ends),
    "letters:letter_counting": _kind(_letter_total, N=whole_number(0), relation=relation),
    "letters:letter_counting2": _kind(
        _letter_count, letter=character, let_frequency=whole_number(0), let_relation=relation
    ),
    "paragraphs:paragraphs2": _kind(_two_blocks),
    "first_word:first_word_answer": _kind(_first_of_answer, first_word=single_word),
    "first_word:first_word_sent": _kind(_first_of_sentences, first_word=single_word),
    "last_word:last_word_answer": _kind(_last_of_answer, last_word=single_word),
    "last_word:last_word_sent": _kind(_last_of_sentences, last_word=single_word),
    "punctuation:punctuation_dot": _kind(_no_dot),
    "punctuation:punctuation_exclamation": _kind(_no_exclamation),
    "count:lowercase_counting": _kind(_few_lowercase, N=whole_number(0)),
    "count:count_unique": _kind(_unique),
    "copy:copying_simple": _kind(_copied, prompt_to_repeat=phrase),
    "detectable_format:square_brackets": _kind(_brackets),
    "ratio:different_words": _kind(_one_type_to_token, percent=whole_number(1), min_words=whole_number(1)),
    "length_constraints:sentence_words": _kind(_sentence_lengths, max_words=whole_number(1)),
    "form:table": _kind(_table, min_rows=whole_number(1)),
    "form:emoji": _kind(_emoji, count=whole_number(1)),
}


def _generated(kind: str) -> Requirement:
    """A kind of `constraints.py` with the parameters that it draws."""
    rules = {"count": whole_number(0), "word": _lower_word, "letter": _lower_letter}
    names = _PARAMETERS.get(kind, ())
    return Requirement(holds=constraints.KINDS[kind].holds, parameters={name: rules[name] for name in names})


def _lower_word(value: Any) -> str:
    return single_word(value).lower()


def _lower_letter(value: Any) -> str:
    return character(value).lower()


_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("words", "min_words", "max_words", "bullets"), ("count",)),
    **dict.fromkeys(("include_word", "forbid_word", "start_word", "end_word", "json"), ("word",)),
    **dict.fromkeys(("repeat_word", "only_repeat"), ("word", "count")),
    "include_letter": ("letter", "count"),
    "forbid_letter": ("letter",),
}
GENERATED: dict[str, Requirement] = {kind: _generated(kind) for kind in constraints.KINDS}
