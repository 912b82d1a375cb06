r"""The 25 kinds of instruction of IFEval, by their published names and parameters, checked strictly.

Zhou et al., "Instruction-Following Evaluation for Large Language Models", 2023. The checks are our own. Where they
differ from the published ones, they are narrower, because a policy that is trained on a check finds what it lets pass:

- keywords are whole words, not parts of words or patterns; highlights, placeholders, titles and sections hold text
- a bullet is a marker, a blank and text; a divider (`***`, `******`) stands alone
- a postscript and a section begin a line; a repeated prompt is followed by an answer; two responses differ in words
- quotation marks around the whole answer, not around its first and last words
- a constrained response names one option, not several; JSON is an object or an array, with finite numbers
- words in capitals have two letters at least ("I" is none)
- a language that cannot be decided is not followed (published: followed), and a blank answer follows nothing
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from prorl_mega.tasks.instruction import language, prose
from prorl_mega.tasks.instruction.requirement import (
    Constraint,
    Requirement,
    character,
    choice,
    compare,
    phrase,
    phrases,
    relation,
    single_word,
    whole_number,
)

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_PLACEHOLDER = re.compile(r"\[([^\[\]\n]{1,200})\](?!\()")
_BULLET = re.compile(r"^[ \t]*[*-][ \t]+(?=\S)(.*\w.*)$", re.MULTILINE)
_MALFORMED_BULLET = re.compile(r"^[ \t]*(?:\*[^\s*\d][^*\n]*|-[^\s\-\d].*)$", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*\*(?=[^\s*])([^*\n]+)\*\*|\*(?=[^\s*])([^*\n]+)\*")
_TITLE = re.compile(r"<<([^<>\n]+)>>")
_FENCE = re.compile(r"```(?:json)?[ \t]{0,8}\n", re.IGNORECASE)
_DIVIDER = re.compile(r"(?<![^\s])\*\*\*(?![^\s])")
_TWO = re.compile(r"(?<!\*)\*{6}(?!\*)")
_CAPITALS = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")


def _keywords(text: str, constraint: Constraint) -> bool:
    return all(prose.occurrences(text, keyword) for keyword in constraint["keywords"])


def _frequency(text: str, constraint: Constraint) -> bool:
    count = prose.occurrences(text, constraint["keyword"])
    return compare(count, constraint["relation"], constraint["frequency"])


def _forbidden(text: str, constraint: Constraint) -> bool:
    return not any(prose.occurrences(text, word) for word in constraint["forbidden_words"])


def _letters(text: str, constraint: Constraint) -> bool:
    count = text.casefold().count(constraint["letter"].casefold())
    return compare(count, constraint["let_relation"], constraint["let_frequency"])


def _language(text: str, constraint: Constraint) -> bool:
    return language.is_written_in(text, constraint["language"])


def _sentences(text: str, constraint: Constraint) -> bool:
    return compare(len(prose.sentences(text)), constraint["relation"], constraint["num_sentences"])


def _words(text: str, constraint: Constraint) -> bool:
    return compare(len(prose.words(text)), constraint["relation"], constraint["num_words"])


def _paragraphs(text: str, constraint: Constraint) -> bool:
    """Between dividers; one before the first or after the last paragraph is let pass, an empty paragraph is not."""
    parts = [part.strip() for part in _DIVIDER.split(text)]
    parts = parts[not parts[0] : len(parts) - (not parts[-1])]
    return len(parts) == constraint["num_paragraphs"] and all(map(_has_words, parts))


def _nth_paragraph(text: str, constraint: Constraint) -> bool:
    parts = prose.paragraphs(text)
    if len(parts) != constraint["num_paragraphs"]:
        return False
    first = prose.words(parts[constraint["nth_paragraph"] - 1].split(maxsplit=1)[0])
    return bool(first) and first[0].casefold() == constraint["first_word"].casefold()


def _nth_exists(constraint: Constraint) -> None:
    if constraint["nth_paragraph"] > constraint["num_paragraphs"]:
        raise ValueError(
            f"{constraint['kind']}: nth_paragraph={constraint['nth_paragraph']} is more than "
            f"num_paragraphs={constraint['num_paragraphs']}"
        )


def _placeholders(text: str, constraint: Constraint) -> bool:
    """Square brackets around letters; neither links nor boxes to tick."""
    found = [name for name in _PLACEHOLDER.findall(text) if any(map(str.isalpha, name)) and name.casefold() != "x"]
    return len(found) >= constraint["num_placeholders"]


def _postscript(text: str, constraint: Constraint) -> bool:
    """The marker begins a line, text follows it, and more text comes before it than after."""
    letters = [re.escape(part) for part in constraint["postscript_marker"].rstrip(".").split(".") if part.strip()]
    pattern = r"^[ \t>*_]{0,8}" + r"\.[ ]?".join(part.strip() for part in letters) + r"(?!\w)[.:*_]{0,4}(.*)"
    *_, last = (None, *re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE))
    if last is None:
        return False
    before, after = prose.words(text[: last.start()]), prose.words(text[last.start(1) :])
    return 0 < len(after) <= max(len(before), 12) and bool(before)


def _bullets(text: str, constraint: Constraint) -> bool:
    return len(_BULLET.findall(text)) == constraint["num_bullets"] and not _MALFORMED_BULLET.search(text)


def _option(text: str, constraint: Constraint) -> bool:
    """Exactly one of the options, as a sentence of its own."""
    found = [
        option for option in OPTIONS if re.search(r"(?:^|[.!?:\"'*\n]\s{0,4})" + re.escape(option) + r"(?!\w)", text)
    ]
    return len(found) == 1 and sum(text.count(option) > 0 for option in OPTIONS) == 1


def _highlights(text: str, constraint: Constraint) -> bool:
    found = [(double or single) for double, single in _HIGHLIGHT.findall(text)]
    return sum(_has_words(part) and not part[-1].isspace() for part in found) >= constraint["num_highlights"]


def _sections(text: str, constraint: Constraint) -> bool:
    """Headings "<splitter> <number>" at the start of lines, with different numbers and something after each."""
    pattern = r"^[ \t#*_>]{0,8}" + re.escape(constraint["section_spliter"]) + r"[ \t]{0,4}(\d{1,4})\b[ \t*_:.)-]{0,8}"
    found = list(re.finditer(pattern, text, re.MULTILINE))
    ends = [*(each.start() for each in found), len(text)][1:]
    filled = {each[1] for each, end in zip(found, ends, strict=False) if _has_words(text[each.end() : end])}
    return len(filled) >= constraint["num_sections"]


def _json(text: str, constraint: Constraint) -> bool:
    fence = _FENCE.match(text)
    body = text[fence.end() :].removesuffix("```") if fence and text.endswith("```") else text
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list) and bool(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _title(text: str, constraint: Constraint) -> bool:
    return any(map(_has_words, _TITLE.findall(text)))


def _two_responses(text: str, constraint: Constraint) -> bool:
    parts = [part.strip() for part in _TWO.split(text)]
    parts = parts[not parts[0] : len(parts) - (not parts[-1])]
    contents = [prose.lowered(part) for part in parts]
    return len(parts) == 2 and all(contents) and contents[0] != contents[1]


def _repeats_prompt(text: str, constraint: Constraint) -> bool:
    """The prompt first, word for word, then something else; case and the number of blanks do not count."""
    wanted, given = (" ".join(each.split()) for each in (constraint["prompt_to_repeat"], text))
    start = given[: len(wanted)]
    return start.casefold() == wanted.casefold() and _has_words(given[len(wanted) :])


def _ends(text: str, constraint: Constraint) -> bool:
    """The phrase is the end, apart from quotation marks around the whole answer; case does not count."""
    end = text.rstrip('"').rstrip().casefold()
    wanted = constraint["end_phrase"].casefold()
    before = end[: -len(wanted)][-1:]
    return end.endswith(wanted) and not (wanted[0].isalnum() and before.isalnum())


def _quoted(text: str, constraint: Constraint) -> bool:
    """Quotation marks around all of it: no mark inside closes the first one."""
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


def _capital_words(text: str, constraint: Constraint) -> bool:
    count = sum(len(word) > 1 and word.isupper() for word in _CAPITALS.findall(text))
    return compare(count, constraint["capital_relation"], constraint["capital_frequency"])


def _english_capital(text: str, constraint: Constraint) -> bool:
    return text.isupper() and language.is_written_in(text, "en")


def _english_lowercase(text: str, constraint: Constraint) -> bool:
    return text.islower() and language.is_written_in(text, "en")


def _no_comma(text: str, constraint: Constraint) -> bool:
    return "," not in text


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def _kind(holds: Any, **parameters: Any) -> Requirement:
    return Requirement(holds=holds, parameters=parameters)


PUBLISHED: dict[str, Requirement] = {
    "keywords:existence": _kind(_keywords, keywords=phrases),
    "keywords:frequency": _kind(_frequency, keyword=phrase, frequency=whole_number(0), relation=relation),
    "keywords:forbidden_words": _kind(_forbidden, forbidden_words=phrases),
    "keywords:letter_frequency": _kind(
        _letters, letter=character, let_frequency=whole_number(0), let_relation=relation
    ),
    "language:response_language": _kind(_language, language=choice(language.LANGUAGES)),
    "length_constraints:number_sentences": _kind(_sentences, num_sentences=whole_number(0), relation=relation),
    "length_constraints:number_paragraphs": _kind(_paragraphs, num_paragraphs=whole_number(1)),
    "length_constraints:number_words": _kind(_words, num_words=whole_number(0), relation=relation),
    "length_constraints:nth_paragraph_first_word": Requirement(
        holds=_nth_paragraph,
        parameters={"num_paragraphs": whole_number(1), "nth_paragraph": whole_number(1), "first_word": single_word},
        consistent=_nth_exists,
    ),
    "detectable_content:number_placeholders": _kind(_placeholders, num_placeholders=whole_number(0)),
    "detectable_content:postscript": _kind(_postscript, postscript_marker=phrase),
    "detectable_format:number_bullet_lists": _kind(_bullets, num_bullets=whole_number(0)),
    "detectable_format:constrained_response": _kind(_option),
    "detectable_format:number_highlighted_sections": _kind(_highlights, num_highlights=whole_number(0)),
    "detectable_format:multiple_sections": _kind(_sections, section_spliter=phrase, num_sections=whole_number(1)),
    "detectable_format:json_format": _kind(_json),
    "detectable_format:title": _kind(_title),
    "combination:two_responses": _kind(_two_responses),
    "combination:repeat_prompt": _kind(_repeats_prompt, prompt_to_repeat=phrase),
    "startend:end_checker": _kind(_ends, end_phrase=phrase),
    "startend:quotation": _kind(_quoted),
    "change_case:capital_word_frequency": _kind(
        _capital_words, capital_frequency=whole_number(0), capital_relation=relation
    ),
    "change_case:english_capital": _kind(_english_capital),
    "change_case:english_lowercase": _kind(_english_lowercase),
    "punctuation:no_comma": _kind(_no_comma),
}
