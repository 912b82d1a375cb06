"""Kinds of instruction that came after IFEval, by the names under which public training sets write them, and our own.

The names with a colon are those of the IFEval-like training sets of 2025 (keywords:word_once, paragraphs:paragraphs2,
...); length_constraints:sentence_words, `ratio:` and `form:` are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prorl_mega.tasks.instruction import parameter_rules as rule
from prorl_mega.tasks.instruction import prose, visible
from prorl_mega.tasks.instruction.ifeval_checks import IFEVAL_CHECKS
from prorl_mega.tasks.instruction.instruction_check import InstructionCheck, check, counted

_BRACKETED = re.compile(r"\[[^\[\]\s]+\]")
_TABLE_RULE = re.compile(r"^[ \t]*\|(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*$", re.MULTILINE)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def _starts(text: str, first_word: str) -> bool:
    return prose.lowered(text)[:1] == [first_word.casefold()]


def _ends(text: str, last_word: str) -> bool:
    return prose.lowered(text)[-1:] == [last_word.casefold()]


def _every_sentence(text: str, follows: Callable[[str], bool]) -> bool:
    found = prose.sentences(text)
    return bool(found) and all(map(follows, found))


def _different(text: str, percent: int, min_words: int) -> bool:
    """Whether at least `percent` of the words are different ones."""
    readings = map(prose.lowered, visible.readings(text))
    return all(len(found) >= min_words and 100 * len(set(found)) >= percent * len(found) for found in readings)


def _table(text: str, min_rows: int) -> bool:
    """Whether there is a Markdown table: a row of names, a rule, and at least `min_rows` rows of contents."""
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
    return head.startswith("|") and head.count("|") == columns and rows >= min_rows


LATER_CHECKS: dict[str, InstructionCheck] = {
    "keywords:word_once": check(
        lambda text, keyword: visible.required(prose.occurrences)(text, keyword=keyword) == (1, 1), keyword=rule.phrase
    ),
    "keywords:word_count_different_numbers": IFEVAL_CHECKS["keywords:frequency"],
    "keywords:exclude_word_harder": check(
        lambda text, keyword: not any(prose.occurrences(each, keyword) for each in visible.readings(text)),
        keyword=rule.phrase,
    ),
    "keywords:start_end": check(lambda text: len(found := prose.lowered(text)) > 1 and found[0] == found[-1]),
    "letters:letter_counting": counted(visible.counts(lambda text: sum(map(str.isalpha, text))), "N"),
    "letters:letter_counting2": IFEVAL_CHECKS["keywords:letter_frequency"],
    "paragraphs:paragraphs2": check(lambda text: len(prose.paragraphs(text)) == 2),
    "first_word:first_word_answer": check(_starts, first_word=rule.single_word),
    "first_word:first_word_sent": check(
        lambda text, first_word: _every_sentence(text, lambda sentence: _starts(sentence, first_word)),
        first_word=rule.single_word,
    ),
    "last_word:last_word_answer": check(_ends, last_word=rule.single_word),
    "last_word:last_word_sent": check(
        lambda text, last_word: _every_sentence(text, lambda sentence: _ends(sentence, last_word)),
        last_word=rule.single_word,
    ),
    "punctuation:punctuation_dot": check(lambda text: not visible.has_full_stop(text)),
    "punctuation:punctuation_exclamation": check(lambda text: not visible.has_exclamation_mark(text)),
    "count:lowercase_counting": check(
        lambda text, N: all(sum(map(str.islower, prose.words(each))) <= N for each in visible.readings(text)),
        N=rule.COUNT,
    ),
    "count:count_unique": check(lambda text: _different(text, percent=100, min_words=1)),
    "copy:copying_simple": check(
        lambda text, prompt_to_repeat: text.split() == prompt_to_repeat.split(), prompt_to_repeat=rule.phrase
    ),
    "detectable_format:square_brackets": check(
        lambda text: all(_BRACKETED.fullmatch(part.rstrip(".,;:!?")) for part in text.split())
    ),
    "ratio:different_words": check(_different, percent=rule.POSITIVE, min_words=rule.POSITIVE),
    "length_constraints:sentence_words": check(
        lambda text, max_words: all(
            _every_sentence(each, lambda sentence: len(prose.words(sentence)) <= max_words)
            for each in visible.readings(text)
        ),
        max_words=rule.POSITIVE,
    ),
    "form:table": check(_table, min_rows=rule.POSITIVE),
    "form:emoji": check(lambda text, count: len(_EMOJI.findall(text)) >= count, count=rule.POSITIVE),
}
