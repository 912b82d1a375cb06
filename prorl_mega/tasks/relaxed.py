r"""Other readings of an answer that is not in the form that was asked for: format-relaxed scores of an evaluation.

A model that was never trained on a form may know the answer and not the form: it writes \boxed{7} where `<answer>` was
asked for. Counted as wrong, this makes training look as if it had taught more than it did. So an answer in which the
verifier found *nothing* in the wanted form is read as a benevolent reader would, in at most `MAX_READINGS` ways, and
the same strict verifier judges each of them, put into the wanted form. An answer in the wanted form is never read
again, neither a wrong one nor one that hedges ("\boxed{3} or \boxed{4}"): that is no matter of form.

The readings of a text for a short answer: of the marks of other forms, the last one in the text alone counts (a box,
`<answer>`, "the answer is", `####`), as strictly as where it is asked for, and the value in what it marks. Without any
mark: the last line, and the value in it if there is only one. Puzzles may have several lines: their last block of code
and last paragraph are tried as well. Sentences that deny, doubt, compare or give several values are no answer.

So a lucky guess of the reader is possible (the last sentence may name the right number for another reason), and what a
relaxed score measures is an upper bound of what the model knew.
"""

from __future__ import annotations

import re
from enum import Enum

from prorl_mega.tasks import extract
from prorl_mega.tasks.answers.units import unit
from prorl_mega.tasks.extract import Form

MAX_READINGS = 4  # of one answer
MAX_LINE = 240  # characters of a last line that is read
MAX_SHORT = 4096  # characters of an answer of several lines

_HASHES = re.compile(r"^#{4}\s+(\S.*)$", re.MULTILINE)
_STATED = re.compile(r"(?<![^\W_])answer(?:[*_]{1,3})?(?:\s{1,4}is\b|\s{0,4}:)", re.IGNORECASE)
_MARKS_ALONE = re.compile(r"\W*|[`~]{3,}.*")
_GOODBYE = re.compile(
    r"\b(?:hope|let me know|feel free|any (?:more |other |further )?questions|thank|happy to help|good luck|end of)\b",
    re.IGNORECASE,
)
_DISPLAY = re.compile(
    r"(?<![.!?:\n])\n(?=\\\[|\$\$)|(?<=\\\[)[ \t]*\n|\n[ \t]*(?=\\\])|(?<=\$\$)[ \t]*\n|\n[ \t]*(?=\$\$)"
)
_OPENING = re.compile(
    r"(?:#{1,6}\s+|[-*+>•]\s+|[0-9]{1,2}[.)]\s+)?"
    r"(?:(?:so|thus|therefore|hence|finally|consequently|in conclusion|∴|=>|→)[\s,:]+)*",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(\*{1,3}|_{1,3}|`{1,2})(?=\S)(.+)(?<=\S)\1")
_UNSURE = re.compile(
    r"\?|\b(?:or|either|maybe|perhaps|possibl[ey]|probably|might|could|would|may|guess\w*|not|no|never|cannot|unable|"
    r"unknown|unclear|unsure|about|around|approximately|roughly|nearly|almost|at (?:least|most)|(?:more|less|fewer|"
    r"greater|smaller|larger|higher|lower|other|rather) than|up to|between|except|instead|if|unless|assum\w+|suppose|"
    r"let|let's|try|trying|next|step|need|wait|example|check|verify|wrong|incorrect|false that|"
    r"first|second|initially|originally|remaining to)\b|n['’]t\b|[<>≤≥≈~∈≠±]"
    r"|\\(?:approx|leq?|geq?|neq?|pm|mp|in|notin|sim|equiv|to|not)(?![A-Za-z])",
    re.IGNORECASE,
)
_RELATED = re.compile(r"\\(?:in|notin|neq?|not)(?![A-Za-z])|[∈∉≠]")
_FORMULA = re.compile(r"\$\$(?P<a>[^$]+)\$\$|\$(?P<b>[^$]+)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]")
_NUMBER = re.compile(
    r"(?<![\w.,\\{])(?:[-−+](?=[0-9.]|\\?\$[0-9]))?(?:\\?\$)?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
    r"(?:/[0-9]+)?(?:\s?\\?%)?(?![\w/^!])"
)
_ENDING_VALUE = re.compile(
    r"(?:\b(?:is|are|equals?|be|makes?|gives?|get|gets|totals?|total of|leaves)|=)\s*$", re.IGNORECASE
)
_DENIED = re.compile(  # in the clause before "answer is"
    r"\b(?:wrong|incorrect|false|mistaken|not|never|no|previous|old|doubt\w*|den(?:y|ies|ied)|maybe|perhaps)\b|n['’]t\b"
    r"|\b(?:if|whether|unless) (?:the |your |my )?(?:\w+ )?$",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?](?=\s)|[\n;,]|\b(?:so|thus|hence|therefore|but|instead|and)\b", re.IGNORECASE)
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_LEFT_SIDE = re.compile(r"[^\s,;:]+(?:\s*[-+*/×÷=^]\s*[^\s,;:]+)*\s*$")
_NAMED = re.compile(r"[A-Za-z][A-Za-z]*'?(?:_\{?\w+\}?)?(?:\s?\+\s?[A-Za-z])*|[A-Za-z]\([^()]{1,8}\)")
_LETTER = re.compile(
    r"(?:\b(?:option|choice|letter|answer)\s+(?:is\s+)?|\bis\s*:?\s*|^)[*_]{0,3}\(?([A-Z])\)?[*_]{0,3}(?=[\s.,:;)]|$)|\(([A-Z])\)"
)
_REASON = re.compile(r"(?:because|since|as|which|is|for)\b", re.IGNORECASE)
_OPTION_LINE = re.compile(r"[\W_]*[A-Za-z][.):]")
_ENDED = re.compile(r"[.!;:)\]}$*`\"'”’]\s*$|\n\s*$")


class Sought(Enum):
    """The kind of value that a sentence is searched for."""

    number = "number"  # with its unit
    letter = "letter"  # of an option
    puzzle = "puzzle"  # a number, or lines that are the answer as a whole


def short_answers(text: str, form: Form, sought: Sought) -> list[str]:
    """The readings of a text without an answer in the wanted form, each in that form; at most `MAX_READINGS`."""
    if extract.marked(text, form):
        return []
    visible = extract.after_thinking(extract.clean(text))
    place, found = _last_mark(visible, form)
    if place < 0:
        found = _unmarked(visible, sought)
    elif found:
        rest = _after_statement(visible[: MAX_SHORT + place], place)
        if rest and sought is Sought.letter:  # "B. oxygen": a sentence does not end there
            found = [_first_line(rest)]
        sentences = [content for content in map(_first_line, found) if _WORDS.search(content)]
        found += [each for content in sentences for each in _value(content, sought)]
        if rest and sought is Sought.puzzle:
            found.append(rest)
    return _in_form(found, form)


def within(content: str, form: Form, sought: Sought) -> list[str]:
    """The readings of what stands between the wanted marks and is not itself of the form of an answer."""
    inside = extract.answer(content, Form.stated)
    return _in_form([inside] if inside else _value(_first_line(content), sought), form)


def _in_form(found: list[str], form: Form) -> list[str]:
    different = dict.fromkeys(each.strip() for each in found if each.strip())
    return [extract.mark("", each, form) for each in different][:MAX_READINGS]


def _last_mark(text: str, wanted: Form) -> tuple[int, list[str]]:
    """The end of the last answer in another form, -1 without one, and its content; none where it leaves doubts."""
    places: list[tuple[int, list[str]]] = [(-1, [])]
    if wanted is not Form.tags and extract.marked(text, Form.tags):
        places.append((text.rfind("</answer>"), _one(extract.answer(text, Form.tags))))
    elif (start := text.rfind("<answer>")) > text.rfind("</answer>"):
        content = text[start + len("<answer>") :].strip()
        places.append((len(text), [] if "\n" in content else _one(content)))
    if wanted not in (Form.boxed, Form.stated) and extract.marked(text, Form.boxed):
        place = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
        places.append((place, _one(extract.answer(_without_echoes(text), Form.boxed))))
    elif wanted is not Form.stated and (stated := list(_STATED.finditer(text))):
        is_denied = _DENIED.search(_CLAUSE_END.split(text[: stated[-1].start()][-MAX_LINE:])[-1])
        found = [] if is_denied else _one(extract.answer(_without_echoes(text), Form.stated))
        places.append((stated[-1].end(), found))
    if hashes := list(_HASHES.finditer(text)):
        places.append((hashes[-1].end(), [hashes[-1][1]]))
    return max(places, key=lambda each: each[0])


def _one(answer: str | None) -> list[str]:
    return [] if answer is None or extract.is_echo(answer) else [answer]


def _without_echoes(text: str) -> str:
    r"""The text without the empty boxes of a request that was repeated: "put the answer in \boxed{}"."""
    return re.sub(r"\\(?:boxed|fbox)\s?\{([^{}]{0,40})\}", lambda box: "" if extract.is_echo(box[1]) else box[0], text)


def _after_statement(text: str, place: int) -> str:
    """All that follows a statement's mark, such as a grid; "" if the mark is no statement."""
    return text[place:].strip(" :*_\n") if _STATED.search(text[max(0, place - 24) : place]) else ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:MAX_LINE]


def _unmarked(text: str, sought: Sought) -> list[str]:
    """The readings of a text without any marks."""
    lines = _last_lines(text)
    if not lines:
        return []
    found: list[str] = []
    if sought is Sought.puzzle:
        found += _blocks(text)
    line = lines[-1]
    is_listed = sought is Sought.letter and len(lines) > 1 and _OPTION_LINE.match(lines[-2])  # the options once more
    is_doubtful = line.endswith("?") or "~~" in line or _RELATED.search(line) or ("=" in line and _UNSURE.search(line))
    if len(line) > MAX_LINE or is_doubtful or is_listed:
        return found
    plain = line[_match_end(_OPENING, line) :].strip()
    if match := _BOLD.fullmatch(plain.removesuffix(".")):
        plain = match[2]
    found.append(plain.removesuffix("."))
    return found + (_value(line, sought) if _ENDED.search(text) else [])


def _match_end(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _last_lines(text: str) -> list[str]:
    """The last two lines that say something, without goodbyes; a formula on lines of its own is one line."""
    lines = [line.strip() for line in _DISPLAY.sub(" ", text[-MAX_SHORT:]).split("\n")]
    lines = [line for line in lines if not _MARKS_ALONE.fullmatch(line)]
    for _ in range(3):
        if len(lines) > 1 and _GOODBYE.search(lines[-1]):
            lines.pop()
    return lines[-2:]


def _blocks(text: str) -> list[str]:
    """The last block of code and the last paragraph, where they are several lines, or all there is."""
    text = text.strip()
    fenced = re.findall(r"^```[^\n]*\n(.*?)\n```", text[-MAX_SHORT:], re.DOTALL | re.MULTILINE)
    paragraph = text[-MAX_SHORT:].rpartition("\n\n")[2]
    return fenced[-1:] + ([paragraph] if "\n" in paragraph.strip() and len(text) <= MAX_SHORT else [])


def _value(sentence: str, sought: Sought) -> list[str]:
    """The one value in a sentence, or none. It is boxed where it stands, and the rules about boxes judge the rest."""
    sentence = sentence[_match_end(_OPENING, sentence) :].replace("**", "")
    if _UNSURE.search(sentence):
        return []
    span = _letter(sentence) if sought is Sought.letter else _formula(sentence) or _number(sentence)
    if span is None:
        return []
    start, end = span
    boxed = rf"{sentence[:start]}\boxed{{{sentence[start:end]}}}{sentence[end:]}"
    return _one(extract.answer(boxed, Form.boxed))


def _letter(sentence: str) -> tuple[int, int] | None:
    """The only letter, if the text of an option, which may be another one, does not follow it."""
    found = [match.span(1 if match[1] else 2) for match in _LETTER.finditer(sentence)]
    if len({sentence[start:end] for start, end in found}) != 1:
        return None
    rest = sentence[found[-1][1] :].strip(" .,:;)*_")
    return found[-1] if not rest or _REASON.match(rest) else None


def _formula(sentence: str) -> tuple[int, int] | None:
    """The only formula; or the last one, if it ends the sentence and those before it are names."""
    found = [next(match.span(name) for name in "abcd" if match[name]) for match in _FORMULA.finditer(sentence)]
    if not found or _NUMBER.search(_FORMULA.sub(" ", sentence)):
        return None
    start, end = found[-1]
    before = [sentence[a:b] for a, b in found[:-1]]
    if any(re.search("[0-9]", each) for each in before):
        opening = sentence[:start].rstrip("$([\\ ")
        if sum("=" in each for each in before) or not _ENDING_VALUE.search(f"{opening} "):
            return None
    return start, end


def _number(sentence: str) -> tuple[int, int] | None:
    """The only number with its unit; or the last one, if it is what the sentence says something is."""
    found = list(_NUMBER.finditer(sentence))
    if not found:
        return None
    said = {match[0] for match in found if _ENDING_VALUE.search(sentence[: match.start()])}
    last = found[-1]
    if len({match[0] for match in found}) > 1 and said != {last[0]}:
        return None
    before = sentence[: last.start()].rstrip()
    if before.endswith("=") and not _is_solved(before[:-1]):
        return None
    return last.start(), _unit_end(sentence, last.end())


def _is_solved(text: str) -> bool:
    """Whether what stands left of an equals sign is a name or a calculation, and no equation: x = 3, not 2x = 3."""
    left = _LEFT_SIDE.search(text)
    side = left[0].strip() if left else ""
    return not re.search("[A-Za-z\\\\|]", side) or _NAMED.fullmatch(side) is not None


def _unit_end(sentence: str, end: int) -> int:
    """The end of the unit behind a number: at most three words that are one."""
    words = list(re.finditer(r"\s?[^\s.,;:!]+", sentence[end : end + 40]))[:3]
    for word in reversed(words):
        if unit(sentence[end : end + word.end()].strip()) is not None:
            return end + word.end()
    return end
