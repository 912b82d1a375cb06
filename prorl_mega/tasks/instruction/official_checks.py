r"""The 25 kinds of instruction of IFEval, judged as the published checker does it, for numbers that can be compared.

The published checker is instruction_following_eval of google-research, which evaluation harnesses carry as `ifeval`.
The code is ours; `benchmarks/ifeval_agreement.py` runs the published one beside it. Its oddities are kept: keywords are
regular expressions and match inside words, `***` and `---` are bullets, any brackets count as a gap, and a text
whose language langdetect cannot tell is in every language. We differ where the published checker has no verdict:

- langdetect draws n-grams at random; here with a fixed seed, so the same text is always judged alike
- for a `letter` that is none (`#`, `!`) the published checker draws one; here the character itself is counted
- JSON too deep to be read ends the published checker with an error; here it is no JSON
- a keyword that is no regular expression (`:(`) ends it as well, and so does a language that it has no name for (`zh`);
  for a bound of 0 it draws another one: here such rows are broken
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prorl_mega.tasks.instruction import clitics, punkt
from prorl_mega.tasks.instruction import parameter_rules as rule
from prorl_mega.tasks.instruction.ifeval_checks import IFEVAL_CHECKS, RESPONSES
from prorl_mega.tasks.instruction.instruction_check import InstructionCheck, check, counted

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory

_RELATIONS = ("at least", "less than")
_NAMED = "ar bg bn de en es fa fi fr gu he hi it ja kn ko ml mr ne pa pl pt ru sw ta te th uk ur vi"
_WAY_OUT = "leave the row out with `skip`, or use `checker: ours`"
_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
_FENCES = ("```json", "```Json", "```JSON", "```")  # of these each is removed once, in this order
_WORD = re.compile(r"\w+")
_LINE_HIGHLIGHT = re.compile(r"\*([^*\n]*)\*")
_STRONG_HIGHLIGHT = re.compile(r"\*\*([^*\n]*)\*\*")


def readings(text: str, *, loose: bool) -> list[str]:
    """The texts of which one must follow an instruction: the text; loosely, also without its first line, its last line
    or both, and all of these without asterisks. Blank ones follow nothing and are left out."""
    lines = text.split("\n")
    parts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))] if loose else [text]
    bare = [part.replace("*", "") for part in parts] if loose else []
    return [each for each in dict.fromkeys([*parts, *bare]) if each.strip()]


def followed(answer_readings: list[str], constraint: dict[str, Any]) -> bool:
    """Whether one of the `readings` follows an instruction whose parameters have been checked."""
    parameters = {name: value for name, value in constraint.items() if name != "kind"}
    follows = OFFICIAL_CHECKS[constraint["kind"]].follows
    return any(follows(each, **parameters) for each in answer_readings)


def prepare() -> None:
    """Load the models of languages and sentences (a second)."""
    _languages()
    punkt.model()


@functools.cache
def _languages() -> DetectorFactory:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    made = DetectorFactory()
    made.load_profile(PROFILES_DIRECTORY)
    made.set_seed(0)
    return made


def _is_in(text: str, language: str) -> bool:
    from langdetect import LangDetectException

    detector = _languages().create()
    detector.append(text)
    try:
        return bool(detector.detect() == language)
    except LangDetectException:
        return True


def _text(value: Any) -> str:
    """Text as it is given, because blanks around a keyword count in the published checker."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text that is not blank")
    return value


def _pattern(frame: str = "{}", change: Callable[[str], str] = str) -> rule.ParameterRule:
    """A regular expression as it is used: after `change`, alone and in the place of `{}`."""

    def checked(value: Any) -> str:
        text = _text(value)
        try:
            re.compile(change(text))
            re.compile(frame.replace("{}", change(text)))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"is no regular expression ({error}), so the published checker has no verdict; {_WAY_OUT}"
            ) from None
        return text

    return checked


def _stripped(pattern: rule.ParameterRule) -> rule.ParameterRule:
    return lambda value: pattern(value.strip() if isinstance(value, str) else value)


def _patterns(pattern: rule.ParameterRule) -> rule.ParameterRule:
    def checked(value: Any) -> list[str]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("must be a list of words or phrases")
        return [pattern(each) for each in value]

    return checked


def _bound(value: Any) -> int:
    if rule.COUNT(value) == 0:
        raise ValueError(f"is drawn at random by the published checker; {_WAY_OUT}")
    return rule.POSITIVE(value)


def _letter(value: Any) -> str:
    if len(_text(value)) != 1:
        raise ValueError("must be a single character")
    return str(value)


def _placeholders(text: str, num_placeholders: int) -> bool:
    found = 0
    for line in text.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1):
            found += 1
    return found >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    pattern = _POSTSCRIPTS.get(postscript_marker, postscript_marker.lower())
    return re.search(pattern, text.lower(), re.MULTILINE) is not None


def _bullets(text: str, num_bullets: int) -> bool:
    """Lines that begin with a dash, or with one asterisk; a line that is nothing else takes the next one with it."""
    lines = [line.lstrip() for line in text.split("\n")]
    found = sum(line.startswith("-") for line in lines)
    place = 0
    while place < len(lines):
        alone = lines[place] == "*" and place + 1 < len(lines)
        found += alone or (lines[place].startswith("*") and lines[place][1:2] not in ("", "*"))
        place += 2 if alone else 1
    return found == num_bullets


def _highlights(text: str, num_highlights: int) -> bool:
    found = [*_LINE_HIGHLIGHT.findall(text), *_STRONG_HIGHLIGHT.findall(text)]
    return sum(bool(part.strip()) for part in found) >= num_highlights


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.split(r"\s?" + section_spliter + r"\s?\d+\s?", text)) > num_sections


def _filled(parts: list[str]) -> list[str] | None:
    """The stripped parts that are not blank; None if one between others is blank."""
    shown = [part.strip() for part in parts]
    return None if not all(shown[1:-1]) else [part for part in shown if part]


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = _filled(text.split("***"))
    return parts is not None and len(parts) == num_paragraphs


def _two_responses(text: str) -> bool:
    parts = _filled(text.split("******"))
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def _nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Whether the word begins paragraph `nth_paragraph`, blank ones counted, of `num_paragraphs`, blank ones not."""
    parts = text.split("\n\n")
    wanted = parts[nth_paragraph - 1].split() if nth_paragraph <= len(parts) else []
    if sum(bool(part.strip()) for part in parts) != num_paragraphs or not wanted:
        return False
    first = re.split("[.,?!'\"]", wanted[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    return "".join(map(str.lower, first)) == first_word.lower()  # letter by letter: no final sigma


def _json(text: str) -> bool:
    body = text.strip()
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if start >= 0 and end - start > 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def _counted(*given: Any, **parameters: Any) -> InstructionCheck:
    """`counted` with the two relations that the published checker has, and bounds that it keeps."""
    made = counted(*given, **parameters)
    rules = {
        name: rule.choice(_RELATIONS) if name.endswith("relation") else _bound if each is rule.COUNT else each
        for name, each in made.parameters.items()
    }
    return InstructionCheck(follows=made.follows, parameters=rules)


def _found(text: str, keyword: str) -> int:
    return len(re.findall(keyword, text, re.IGNORECASE))


OFFICIAL_CHECKS: dict[str, InstructionCheck] = {
    "keywords:existence": check(
        lambda text, keywords: all(re.search(each, text, re.IGNORECASE) for each in keywords),
        keywords=_patterns(_pattern()),
    ),
    "keywords:frequency": _counted(_found, "frequency", keyword=_stripped(_pattern())),
    "keywords:forbidden_words": check(
        lambda text, forbidden_words: (
            not any(re.search(rf"\b{each}\b", text, re.IGNORECASE) for each in forbidden_words)
        ),
        forbidden_words=_patterns(_pattern(r"\b{}\b")),
    ),
    "keywords:letter_frequency": _counted(
        lambda text, letter: text.lower().count(letter.lower()),
        bound="let_frequency",
        relation="let_relation",
        letter=_letter,
    ),
    "language:response_language": check(_is_in, language=rule.choice(_NAMED.split())),
    "length_constraints:number_sentences": _counted(lambda text: len(punkt.sentences(text)), "num_sentences"),
    "length_constraints:number_paragraphs": check(_paragraphs, num_paragraphs=_bound),
    "length_constraints:number_words": _counted(lambda text: len(_WORD.findall(text)), "num_words"),
    "length_constraints:nth_paragraph_first_word": InstructionCheck(
        follows=_nth_paragraph,
        parameters={"num_paragraphs": rule.POSITIVE, "nth_paragraph": rule.POSITIVE, "first_word": _text},
        contradiction=IFEVAL_CHECKS["length_constraints:nth_paragraph_first_word"].contradiction,
    ),
    "detectable_content:number_placeholders": check(_placeholders, num_placeholders=_bound),
    "detectable_content:postscript": check(_postscript, postscript_marker=_stripped(_pattern(r"\s*{}.*$", str.lower))),
    "detectable_format:number_bullet_lists": check(_bullets, num_bullets=_bound),
    "detectable_format:constrained_response": check(lambda text: any(each in text for each in RESPONSES)),
    "detectable_format:number_highlighted_sections": check(_highlights, num_highlights=_bound),
    "detectable_format:multiple_sections": check(
        _sections, section_spliter=_stripped(_pattern(r"\s?{}\s?\d+\s?")), num_sections=_bound
    ),
    "detectable_format:json_format": check(_json),
    "detectable_format:title": check(_title),
    "combination:two_responses": check(_two_responses),
    "combination:repeat_prompt": check(
        lambda text, prompt_to_repeat: text.strip().lower().startswith(prompt_to_repeat.lower()),
        prompt_to_repeat=rule.phrase,
    ),
    "startend:end_checker": check(
        lambda text, end_phrase: text.strip().strip('"').lower().endswith(end_phrase.lower()), end_phrase=rule.phrase
    ),
    "startend:quotation": check(lambda text: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'),
    "change_case:capital_word_frequency": _counted(clitics.capital_words, "capital_frequency", "capital_relation"),
    "change_case:english_capital": check(lambda text: text.isupper() and _is_in(text, "en")),
    "change_case:english_lowercase": check(lambda text: text.islower() and _is_in(text, "en")),
    "punctuation:no_comma": check(lambda text: "," not in text),
}
