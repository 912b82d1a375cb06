r"""Finding the answer in what a model wrote. Linear in the length of the text, whatever the text contains.

Models write anything: unbalanced braces, a megabyte of backslashes, control characters, tags inside tags. Every
function here looks at each character a bounded number of times and returns None when there is no answer.
"""

from __future__ import annotations

import re
from enum import Enum

MAX_TEXT = 1 << 18  # characters of a completion that are looked at; the end is kept, because answers stand there
MAX_ANSWER = 4096  # characters of an extracted answer; a longer one is no answer

_CONTROL = dict.fromkeys((*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)))
_INVISIBLE = dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000))
_REMOVED: dict[int, None] = {**_CONTROL, **_INVISIBLE, **_SURROGATES}
_BRACES = re.compile(r"\\boxed\s{0,8}\{|\\.|[{}]", re.DOTALL)
_LABEL = re.compile(r"(?:the )?(?:final )?answer(?: is)?\s{0,8}[:=]?\s{1,8}|(?:final )?answer:", re.IGNORECASE)


class Form(Enum):
    """How a task wants to have its answer marked."""

    boxed = "boxed"  # the last \boxed{...}
    tags = "tags"  # the last <answer>...</answer>
    line = "line"  # the last line that is not blank


def clean(text: str) -> str:
    """The last `MAX_TEXT` characters, without control, invisible and direction-changing ones (tab, newline stay)."""
    return text[-MAX_TEXT:].translate(_REMOVED)


def after_thinking(text: str) -> str:
    """What follows the last `</think>`; the whole text when there is none."""
    return text.rpartition("</think>")[2]


def boxed(text: str) -> str | None:
    r"""Content of the last balanced `\boxed{...}`, the outermost where boxes are nested."""
    found: tuple[int, int] | None = None
    stack: list[int] = []  # for every open brace: where the content of its box starts, or -1
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            stack.append(-1)
        elif token.endswith("{") and len(token) > 2:
            stack.append(match.end())
        elif token == "}" and stack:
            start = stack.pop()
            if start >= 0:  # boxes close in the order of their ends, so an enclosing one replaces what is inside it
                found = (start, match.start())
    return None if found is None else _bounded(text[found[0] : found[1]])


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
    """The answer in a completion, from the part after the thinking; None when it is missing, empty or oversized."""
    visible = after_thinking(clean(text))
    if form is Form.boxed:
        return boxed(visible)
    if form is Form.tags:
        return tagged(visible)
    return final_line(visible)


def mark(steps: str, result: str, form: Form) -> str:
    """The text of a solution whose answer `answer(..., form)` finds again; `steps` may be empty."""
    shown = {Form.boxed: rf"\boxed{{{result}}}", Form.tags: f"<answer>{result}</answer>", Form.line: result}[form]
    return f"{steps}\n{shown}" if steps else shown


def request(form: Form) -> str:
    """The sentence that asks for the answer in this form."""
    return {
        Form.boxed: r"Think step by step and put the final answer in \boxed{}.",
        Form.tags: "Think step by step and give the final answer between <answer> and </answer>.",
        Form.line: "Think step by step and write the final answer, nothing else, on the last line.",
    }[form]


def _bounded(text: str) -> str | None:
    text = text.strip()
    return text if text and len(text) <= MAX_ANSWER else None
