r"""The 25 kinds of instruction of IFEval, by their published names and parameters, checked strictly.

Zhou et al., "Instruction-Following Evaluation for Large Language Models", 2023. The checks are our own. Where they
differ from the published ones, they are narrower, because a policy that is trained on a check finds what it lets pass:

- keywords are whole words, not parts of words or patterns; highlights, placeholders, titles and sections hold text
- what must not be there (words, letters, commas, more than so many) must not be seen either, whatever it is written
  with (`visible.py`); what must be there must be there in plain characters
- equal highlights or placeholders count once; asterisks between factors highlight nothing
- sentences that only may be some (`A. B. C.`) count where they are limited, and not where they are asked for
- a bullet is a marker, a blank and text; a divider (`***`, `******`) stands alone
- a postscript begins a line or a sentence, a section a line; a repeated prompt is followed by an answer; two responses
  differ in words
- quotation marks around the whole answer, not around its first and last words
- a constrained response names one option, not several, as a sentence of its own, not as what one would never say
- JSON is an object or an array, with finite numbers and without a name twice in an object
- words in capitals have two letters at least ("I" is none)
- a language that cannot be decided, or of which a few words are repeated, is not followed (published: followed), and a
  blank answer follows nothing; where the case of letters is asked for, English is what may be English ("1. MILK")
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import partial

from prorl_mega.tasks.instruction import language, look_alikes, prose, strict_json, visible
from prorl_mega.tasks.instruction import parameter_rules as rule
from prorl_mega.tasks.instruction.instruction_check import InstructionCheck, check, counted

RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_PLACEHOLDER = re.compile(r"\[([^\[\]\n]{1,200})\](?!\()")
_BULLET = re.compile(r"^[ \t]*[*-][ \t]+(?=\S)(.*\w.*)$", re.MULTILINE)
_MALFORMED_BULLET = re.compile(r"^[ \t]*(?:\*[^\s*\d][^*\n]*|-[^\s\-\d].*)$", re.MULTILINE)
_HIGHLIGHT = re.compile(  # not beside a letter or a digit, where asterisks multiply, except in scripts without blanks
    rf"(?<![^\W{prose.JOINED}])(?<![)\]\\*])(\*{{1,3}})(?=[^\s*])([^*\n]+)(?<!\s)\1(?![^\W{prose.JOINED}])(?!\*)"
)
_FENCE_BEGUN = re.compile(r"(?:```\w{0,16}|<answer>)\s{0,4}\Z")
_NOT_MEANT = re.compile(  # words of an introduction that denies, imagines or reports what follows
    r"\b(?:not?|nor|never|cannot|unless|if|false|wrong|incorrect|untrue|lie|lies|lying|opposite|contrary|refuse|"
    r"avoid|deny|instead|would|could|should|might|he|she|they|someone|wants?|told|says?|said|saying|writes?|wrote|pretend|"
    r"imagine|example)\b|n['\u2019]t\b"
)
_QUOTED_WITHIN = re.compile(r"[\"'\u2019\u201d)]{1,3}(?:[,;]|\s+[a-z])")
_TITLE = re.compile(r"<<((?:[^<>\n]|<(?!<)|>(?!>))+)>>")
_FENCE = re.compile(r"```(?:json(?=[\s{\[]))?", re.IGNORECASE)
_OPENED = r"[ \t#*_>(\[\"'\u201c-]{0,8}"  # what may stand before the first word of a line: marks of lists, quotes, ...
_PARAGRAPH_DIVIDER = re.compile(r"(?<![^\s])\*\*\*(?![^\s])")
_RESPONSE_DIVIDER = re.compile(r"(?<!\*)\*{6}(?!\*)")
_GOES_ON = re.compile(r"['\u2019-]?\w|[\u0300-\u036f]")  # the same word
_CAPITALS = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def _divided(text: str, divider: re.Pattern[str]) -> list[str]:
    """The stripped parts between dividers; a divider before the first or after the last part is allowed."""
    parts = [part.strip() for part in divider.split(text)]
    return parts[not parts[0] : len(parts) - (not parts[-1])]


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = _divided(text, _PARAGRAPH_DIVIDER)
    return len(parts) == num_paragraphs and all(map(_has_words, parts))


def _nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = prose.paragraphs(text)
    if len(parts) != num_paragraphs:
        return False
    first = prose.words(parts[nth_paragraph - 1].split(maxsplit=1)[0])
    return bool(first) and first[0].casefold() == first_word.casefold()


def _no_nth_paragraph(num_paragraphs: int, nth_paragraph: int, first_word: str) -> str:
    return f"{nth_paragraph=} is more than {num_paragraphs=}" if nth_paragraph > num_paragraphs else ""


def _different(parts: Iterable[str]) -> int:
    """The number of parts with different words in them."""
    return len({words for part in parts if (words := tuple(prose.lowered(visible.shown(part))))})


def _placeholders(text: str, num_placeholders: int) -> bool:
    """Whether there are enough different names in square brackets; links and boxes to tick do not count."""
    found = (name for name in _PLACEHOLDER.findall(text) if any(map(str.isalpha, name)) and name.casefold() != "x")
    return _different(found) >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    """Whether the marker begins a line or a sentence, text follows it, and more text comes before it than after."""
    letters = [re.escape(part.strip()) for part in postscript_marker.rstrip(".:").split(".") if part.strip()]
    begin = rf"(?:^{_OPENED}|(?<=[.!?\"')])[ \t][*_(]{{0,3}})"
    pattern = begin + r"\.[ ]?".join(letters) + r"(?!\w)[.:*_]{0,4}(.*)"
    *_, last = (None, *re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE))
    if last is None:
        return False
    before, after = prose.words(text[: last.start()]), prose.words(text[last.start(1) :])
    return 0 < len(after) <= max(len(before), 12) and bool(before)


def _constrained(text: str) -> bool:
    """Whether exactly one of the responses is seen, and stands in the text as a sentence of its own."""
    seen = visible.shown(text).casefold()
    found = [response for response in RESPONSES if response.casefold() in seen]
    return len(found) == 1 and any(
        _begins_sentence(text[max(0, place.start() - 400) : place.start()])
        and not re.match(r"\w", text[place.end() :])
        and not _QUOTED_WITHIN.match(text[place.end() :][:20])
        for place in re.finditer(re.escape(found[0]), text)
    )


def _begins_sentence(before: str) -> bool:
    """Whether a sentence of its own begins behind this text: at the begin, behind the end of a sentence or a symbol, or
    behind a colon or on a new line, unless the words before take back what follows ("Never say:").
    """
    said = _FENCE_BEGUN.sub("", before).rstrip(" \t\n#*_>([\"'\u201c\u2018\u2022`-")
    if not said or said[-1] in ".!?\u2026" or unicodedata.category(said[-1]) == "So":
        return True
    introduced = said[-1] == ":" or (said[-1] not in ",;" and "\n" in before[len(said) :])
    return introduced and not _NOT_MEANT.search(re.split(r"[.!?]\s|\n\n", said.casefold())[-1])


def _highlights(text: str, num_highlights: int) -> bool:
    return _different(part for _, part in _HIGHLIGHT.findall(text)) >= num_highlights


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """Whether headings "<splitter> <number>" begin lines, with different numbers and something after each."""
    pattern = rf"^{_OPENED}" + re.escape(section_spliter) + r"[ \t]{0,4}(\d{1,4})\b[ \t*_:.)\]-]{0,8}"
    found = list(re.finditer(pattern, text, re.MULTILINE))
    ends = [*(each.start() for each in found), len(text)][1:]
    filled = {each[1] for each, end in zip(found, ends, strict=False) if _has_words(text[each.end() : end])}
    return len(filled) >= num_sections


def _json(text: str) -> bool:
    fence = _FENCE.match(text)
    body = text[fence.end() :].removesuffix("```") if fence and text.endswith("```") else text
    try:
        value = strict_json.read(body)
    except ValueError:
        return False
    return isinstance(value, dict | list) and bool(value)


def _two_responses(text: str) -> bool:
    contents = [prose.lowered(part) for part in _divided(text, _RESPONSE_DIVIDER)]
    return len(contents) == 2 and all(contents) and contents[0] != contents[1]


def _repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """Whether the prompt is first, word for word, and more follows; case and the number of blanks do not count.

    If the prompt ends with a word, that word ends there in the text, too.
    """
    wanted, given = (" ".join(each.split()) for each in (prompt_to_repeat, text))
    more = given[len(wanted) :]
    longer = wanted[-1].isalnum() and _GOES_ON.match(look_alikes.as_latin(more))
    return given[: len(wanted)].casefold() == wanted.casefold() and not longer and _has_words(more)


def _ends(text: str, end_phrase: str) -> bool:
    """Whether the phrase is the end, apart from quotation marks around the whole answer; case does not count."""
    end, wanted = text.rstrip('"').rstrip().casefold(), end_phrase.casefold()
    before = end[: -len(wanted)][-1:]
    return end.endswith(wanted) and not (wanted[0].isalnum() and before.isalnum())


def _quoted(text: str) -> bool:
    """Whether quotation marks enclose all of it: no mark inside closes the first one."""
    if len(text) < 3 or not text[0] == text[-1] == '"' or not _has_words(text):
        return False
    depth = 1
    for place in range(1, len(text) - 1):
        if text[place] == '"' and text[place - 1] != "\\":
            opens = (text[place - 1].isspace() or text[place - 1] in "([") and not text[place + 1].isspace()
            depth += 1 if opens else -1
            if depth == 0:
                return False
    return depth == 1


def _capital_words(text: str) -> int:
    return sum(word.isupper() and sum(map(str.isalpha, word)) > 1 for word in _CAPITALS.findall(text))


def _sentence_counts(text: str) -> tuple[int, ...]:
    """The sentences that surely are some, and all that may be, in both readings."""
    found = [(len(prose.sentences(each)), prose.doubtful_ends(each)) for each in visible.readings(text)]
    return tuple(count for surely, doubtful in found for count in (surely, surely + doubtful))


def _in_english(text: str, in_case: Callable[[str], bool]) -> bool:
    """Whether the text may be English and is in one case, by its characters and as its letters look."""
    letters = look_alikes.as_latin("".join(filter(str.isalpha, text)))
    return in_case(text) and in_case(letters) and language.may_be_english(text)


IFEVAL_CHECKS: dict[str, InstructionCheck] = {
    "keywords:existence": check(
        lambda text, keywords: all(map(partial(prose.occurrences, visible.without_comments(text)), keywords)),
        keywords=rule.phrases,
    ),
    "keywords:frequency": counted(visible.required(prose.occurrences), "frequency", keyword=rule.phrase),
    "keywords:forbidden_words": check(
        lambda text, forbidden_words: (
            not any(prose.occurrences(reading, word) for reading in visible.readings(text) for word in forbidden_words)
        ),
        forbidden_words=rule.phrases,
    ),
    "keywords:letter_frequency": counted(
        visible.required(lambda text, letter: text.casefold().count(letter.casefold())),
        bound="let_frequency",
        relation="let_relation",
        letter=rule.character,
    ),
    "language:response_language": check(language.is_written_in, language=rule.choice(language.LANGUAGES)),
    "length_constraints:number_sentences": counted(_sentence_counts, "num_sentences"),
    "length_constraints:number_paragraphs": check(_paragraphs, num_paragraphs=rule.POSITIVE),
    "length_constraints:number_words": counted(visible.counts(lambda text: len(prose.words(text))), "num_words"),
    "length_constraints:nth_paragraph_first_word": InstructionCheck(
        follows=_nth_paragraph,
        parameters={"num_paragraphs": rule.POSITIVE, "nth_paragraph": rule.POSITIVE, "first_word": rule.single_word},
        contradiction=_no_nth_paragraph,
    ),
    "detectable_content:number_placeholders": check(_placeholders, num_placeholders=rule.COUNT),
    "detectable_content:postscript": check(_postscript, postscript_marker=rule.phrase),
    "detectable_format:number_bullet_lists": check(
        lambda text, num_bullets: len(_BULLET.findall(text)) == num_bullets and not _MALFORMED_BULLET.search(text),
        num_bullets=rule.COUNT,
    ),
    "detectable_format:constrained_response": check(_constrained),
    "detectable_format:number_highlighted_sections": check(_highlights, num_highlights=rule.COUNT),
    "detectable_format:multiple_sections": check(_sections, section_spliter=rule.phrase, num_sections=rule.POSITIVE),
    "detectable_format:json_format": check(_json),
    "detectable_format:title": check(lambda text: any(map(_has_words, _TITLE.findall(text)))),
    "combination:two_responses": check(_two_responses),
    "combination:repeat_prompt": check(_repeats_prompt, prompt_to_repeat=rule.phrase),
    "startend:end_checker": check(_ends, end_phrase=rule.phrase),
    "startend:quotation": check(_quoted),
    "change_case:capital_word_frequency": counted(
        visible.counts(_capital_words), "capital_frequency", "capital_relation"
    ),
    "change_case:english_capital": check(lambda text: _in_english(text, str.isupper)),
    "change_case:english_lowercase": check(lambda text: _in_english(text, str.islower)),
    "punctuation:no_comma": check(lambda text: not visible.has_comma(text)),
}
