r"""Finding the answer in what a model wrote. Linear in the length of the text, whatever the text contains.

Models write anything: unbalanced braces, a megabyte of backslashes, control characters, tags inside tags. Every
function here looks at each character a bounded number of times and returns None if there is no answer.

In every form only the text after the last `</think>` counts, and nothing if a `<think>` is still open; other marks of
thoughts (`_THOUGHTS`) are read alike. The last box is the answer, `\fbox` as well as `\boxed`; an outer box replaces
those inside it; after a box that is never closed there is no answer at all. What touches a box in its formula belongs
to the answer (`box_formula.py`), and its sentence may deny it (`box_sentence.py`). The paragraph of the last box and
the text after it are the final statement. If it gives several different answers ("\boxed{3} or \boxed{4}",
"\boxed{3}. The answer is 4"), leaves it open ("maybe \boxed{3}") or takes one back ("no wait"), there is no answer.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from prorl_mega.tasks import box_formula
from prorl_mega.tasks.box_sentence import sentence

MAX_TEXT = 1 << 18  # characters of a completion that are searched: the last ones, because answers come at the end
MAX_ANSWER = 4096  # characters of an extracted answer; a longer one is no answer

_CONTROL = dict.fromkeys((*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)))
_INVISIBLE = dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000))
_REMOVED: dict[int, None] = {**_CONTROL, **_INVISIBLE, **_SURROGATES}
_BRACES = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)
_STATED = re.compile(
    r"(?<![^\W_])answer(?:[*_]{1,3})?(?:\s{1,4}is\b|\s{0,4}:)[\s:]{0,4}(?:[*_]{1,3}(?=\s)\s{0,4})?"
    r"(?:(?:therefore|thus|hence|then|indeed|simply|exactly|equal to)\b[\s,:]{0,4})?",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"([*_`]{1,3})(?=\S)([^*_`]{1,400})\1(?!\w)(.*)", re.DOTALL)
_EMPHASIS_END = re.compile(r"([^*`]*?[^*`^{_\s])[*_`]{1,3}[\s.]*")
_VALUE = re.compile(
    r"[0-9$\\]|^\W*(?!(?:correct|right|unique|valid|consistent|verified|confirmed|reasonable)\b)\w+\W*$"
)
_SENTENCE = re.compile(r"[.!?](?=\s|$)|\n")
_TAKEN_BACK = re.compile(
    r"\b(?:wait|hmm+|oops|whoops|i meant|sorry,? (?:that|it|the answer|i was|no)|"
    r"hold on|scratch that|i give up|i am not sure|i'm not sure|on second thoughts?|correction|"
    r"i made an? (?:mistake|error)|(?:that|this)(?:'s| is) (?:wrong|not right|incorrect)|"
    r"alternatively\b(?=[,:]?\s*(?:maybe|perhaps|it|the answer|\W*[0-9]|\S*\\boxed|$"
    r"|(?:we|one) (?:may|might|can|could) (?:take|answer|say)\b))|"
    r"let me re(?:do|consider|think|calculate|compute|start)|or (?:maybe|perhaps)|actually,? (?:no|it|the answer))\b",
    re.IGNORECASE,
)
_OTHER_MARKS = re.compile(rf"\\(?:boxed|fbox)\s?\{{|</answer>|{_STATED.pattern}", re.IGNORECASE)
_LOOKED_AT = 4096  # characters after an answer that are searched for a contradiction
MAX_ANSWERS = 16  # different answers in one final statement
_LABEL = re.compile(r"(?:the )?(?:final )?answer(?: is)?\s{0,8}[:=]?\s{1,8}|(?:final )?answer:", re.IGNORECASE)
_ECHO = re.compile(
    r"and|(?:(?:your|the|my) )?(?:final )?(?:answer|result|solution)(?: here| goes here)?", re.IGNORECASE
)


_TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "scratchpad")
_THOUGHTS = {
    **{f"<{tag}>": f"</{tag}>" for tag in _TAGS},
    "[think]": "[/think]",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|channel>thought": "<channel|>",
    "<|channel|>analysis": "<|channel|>final<|message|>",  # the answer has a channel of its own
}
"""Opening and closing marks of thoughts in small letters; names that nobody writes for another reason."""


class Form(Enum):
    """The marks of an answer in the text of a completion."""

    boxed = "boxed"  # the last \boxed{...}
    tags = "tags"  # the last <answer>...</answer>
    line = "line"  # the last line that is not blank
    stated = "stated"  # the last \\boxed{...}; without a box, what follows the last "the answer is" or "Answer:"


def clean(text: str) -> str:
    """The last `MAX_TEXT` characters, without control, invisible and direction-changing ones (tab, newline stay)."""
    return text[-MAX_TEXT:].translate(_REMOVED)


def after_thinking(text: str) -> str:
    """The text after the last `</think>` and before an unfinished thought; the whole text if there is no thought."""
    if not any(sign in text for sign in "<◁") and "[" not in text.replace(r"\[", ""):
        return text
    small = text.replace("\u0130", "I").lower()  # the one letter that two small ones would replace
    start = max([0, *(small.rfind(mark) + len(mark) for mark in _THOUGHTS.values() if mark in small)])
    ends = [small.find(mark, start) for mark in _THOUGHTS]
    return text[start : min([len(text), *(end for end in ends if end >= 0)])]


class _Box(NamedTuple):
    opening: int  # where its command begins
    start: int
    end: int  # of its contents


def _boxes(text: str) -> tuple[list[_Box], bool]:
    """The outermost closed boxes; whether a box after the last is never closed."""
    found: list[_Box] = []
    stack: list[tuple[int, int]] = []  # for every open brace: where its box and the content of that start, or -1
    first = min((place for place in (text.find(r"\boxed"), text.find(r"\fbox")) if place >= 0), default=len(text))
    first = len(text[:first].rstrip("\\"))  # braces before the first box hold none, or only close later
    for match in _BRACES.finditer(text, first):
        token = match.group()
        if token == "{":
            stack.append((-1, -1))
        elif token.endswith("{") and len(token) > 2:
            stack.append(match.span())
        elif token == "}" and stack:
            opening, start = stack.pop()
            if start >= 0:
                while found and found[-1].start >= start:
                    found.pop()  # an inner box is a part of the outer one
                found.append(_Box(opening, start, match.start()))
    last = found[-1].end if found else -1
    return found, any(start > last for _, start in stack)


def statement(text: str, form: Form) -> list[str]:
    """All different answers that the final statement of a completion gives, in order; empty without an answer."""
    visible = after_thinking(clean(text))
    if form is Form.tags:
        return _unless_taken_back([tagged(visible)], visible[visible.rfind("</answer>") :])
    if form is Form.line:
        return [found] if (found := final_line(visible)) else []
    boxes, is_open = _boxes(visible)
    if is_open:
        return []
    if boxes:
        return _unless_taken_back(*_boxed_statement(visible, boxes))
    stated = list(_STATED.finditer(visible)) if form is Form.stated else []
    if not stated:
        return []
    answer, rest = _sentence(visible[stated[-1].end() :])
    return _unless_taken_back([answer], rest)


def _boxed_statement(text: str, boxes: list[_Box]) -> tuple[list[str | None], str]:
    """The boxes of the last paragraph that has any, with the answers stated after them; and the text after them."""
    paragraph = text.rfind("\n\n", 0, boxes[-1].opening)
    answers: list[str | None] = []
    for box in [box for box in boxes[-MAX_ANSWERS - 1 :] if box.start > paragraph]:
        content = _bounded(text[box.start : box.end])
        if content is None and box is boxes[-1]:
            return [], ""
        words = sentence(text, box.opening, box.end)
        if content is None or words.denies():
            continue
        if words.doubts():
            return [], ""
        answers += [box_formula.completed(text, *box), *words.others(content)]
    rest = text[boxes[-1].end + 1 :][:_LOOKED_AT]
    stated = [_sentence(rest[match.end() :])[0] for match in _STATED.finditer(rest)] if any(answers) else []
    # "The answer is consistent with the conditions" states none.
    return answers + [each for each in stated if each is not None and _VALUE.search(each)], rest


def _sentence(text: str) -> tuple[str | None, str]:
    """The first sentence, without the marks of bold and code around it, and the rest. Numbers have no end inside."""
    text = text[:_LOOKED_AT].lstrip()
    end = _SENTENCE.search(text)
    sentence, rest = (text[: end.start()], text[end.end() :]) if end else (text, "")
    return None if sentence.startswith("~~") else _bounded(_undressed(sentence.strip())), rest


def _undressed(text: str) -> str:
    """A stated answer without the marks around it, or the one at its end that began before it."""
    if match := _EMPHASIS.fullmatch(text):
        return match[2] + match[3]
    match = _EMPHASIS_END.fullmatch(text)
    return match[1] if match else text


def _unless_taken_back(answers: list[str | None], rest: str) -> list[str]:
    different = list(dict.fromkeys(answer for answer in answers if answer))
    return [] if _TAKEN_BACK.search(rest[:_LOOKED_AT]) or len(different) > MAX_ANSWERS else different


def tagged(text: str) -> str | None:
    """Content of the last complete `<answer>...</answer>`."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return None if start < 0 else _bounded(text[start + len("<answer>") : end])


def final_line(text: str) -> str | None:
    """The last line that is not blank, without a leading "Answer:"."""
    line = text.rstrip().rpartition("\n")[2].strip()
    label = _LABEL.match(line)
    return _bounded(line[label.end() :] if label else line)


def answer(text: str, form: Form) -> str | None:
    """The one answer of a completion; None when it is missing, empty or oversized, or when there are several."""
    answers = statement(text, form)
    same = {re.sub(r"[\s$*]|\\[()]", "", each).rstrip(".") for each in answers}
    return answers[0] if len(same) == 1 else None


def marked(text: str, form: Form) -> bool:
    """Whether the visible part of a text has an answer in this form, or the beginning of one, whatever it says."""
    visible = after_thinking(clean(text))
    if form is Form.line:
        line = final_line(visible)
        return line is not None and all_in_form([line], form)
    if form is Form.tags:
        end = visible.rfind("</answer>")
        start = visible.rfind("<answer>", 0, end) if end >= 0 else -1
        return start >= 0 and not is_echo(visible[start + len("<answer>") : end])
    boxes, is_open = _boxes(visible)
    if is_open or any(not is_echo(visible[box.start : box.end]) for box in boxes):
        return True
    return form is Form.stated and _STATED.search(visible) is not None


def all_in_form(found: list[str], form: Form) -> bool:
    """Whether the texts that were found where this form has the answer can be one: none is what a request for an answer
    has there, and a last line does not hold the marks of another form."""
    return all(not is_echo(each) and not (form is Form.line and _OTHER_MARKS.search(each)) for each in found)


def is_echo(content: str) -> bool:
    """Whether nothing stands between the marks of an answer, or what a request for an answer has there."""
    content = content.strip().strip(".…").strip()
    return not content or _ECHO.fullmatch(content) is not None


def mark(steps: str, result: str, form: Form) -> str:
    """The text of a solution whose answer `answer(..., form)` finds again; `steps` may be empty."""
    shown = {
        Form.boxed: rf"\boxed{{{result}}}",
        Form.tags: f"<answer>{result}</answer>",
        Form.line: result,
        Form.stated: rf"The answer is {result}",
    }[form]
    return f"{steps}\n{shown}" if steps else shown


def request(form: Form) -> str:
    """The sentence that asks for the answer in this form."""
    return {
        Form.boxed: r"Think step by step and put the final answer in \boxed{}.",
        Form.tags: "Think step by step and give the final answer between <answer> and </answer>.",
        Form.stated: 'Think step by step and end with "The answer is", followed by the final answer.',
        Form.line: "Think step by step and write the final answer, nothing else, on the last line.",
    }[form]


def _bounded(text: str) -> str | None:
    text = text.strip()
    return text if text and len(text) <= MAX_ANSWER else None
