"""Programs in answers that have no complete code block of their language, for format-relaxed scores of an evaluation.

At most `MAX_PROGRAMS` readings, each put into a block: the last block of whatever mark and the block that was opened
last and never closed; where there is no block at all, the lines from the first that is code to the last. Tests judge
them as any program, so none becomes right that does not work.
"""

from __future__ import annotations

import ast
import re

from prorl_mega.tasks import extract

MAX_PROGRAM = 1 << 16  # characters
MAX_PROGRAMS = 2  # readings of one answer
CUTS = 8  # times that a Python program is cut where it stops being one

_FENCE = re.compile(r"^[ \t]*(?:[-*+][ \t]+)?(`{3,}|~{3,})[^\n]*$", re.MULTILINE)
_FIRST = {
    "python": re.compile(
        r"^(?:import [\w.]+|from [\w.]+ import |def \w+\(|class \w+|@\w+|if __name__|for \w+ in |while |"
        r"print\(|[A-Za-z_]\w*(?:, ?[A-Za-z_]\w*)* ?= ?\S)",
        re.MULTILINE,
    ),
    "cpp": re.compile(r"^(?:#include\b|using namespace |int main\b|template ?<|#define )", re.MULTILINE),
}


def programs(answer: str, language: str) -> list[str]:
    """The answer in other readings, each as one block of `language`; none if there is nothing like a program."""
    text = extract.after_thinking(extract.clean(answer))
    fences = list(_FENCE.finditer(text))
    if not fences:
        found = [_bare(text, language)]
    else:
        closed, opened = _blocks(text, fences)
        found = [closed, opened]
    different = dict.fromkeys(each.strip("\n") for each in found if each.strip() and len(each) <= MAX_PROGRAM)
    return [_fenced(each, language) for each in different]


def _blocks(text: str, fences: list[re.Match[str]]) -> tuple[str, str]:
    """The last closed block, and what follows a fence that is never closed; "" without."""
    closed, opened, opening = "", "", None
    for fence in fences:
        if opening is None:
            opening = fence
        elif fence[1][0] == opening[1][0] and len(fence[1]) >= len(opening[1]):
            closed, opening = text[opening.end() : fence.start()], None
    if opening is not None:
        opened = text[opening.end() :]
    return closed, opened


def _bare(text: str, language: str) -> str:
    """The program in a text without any block."""
    first = _FIRST[language].search(text)
    if first is None or len(text) - first.start() > MAX_PROGRAM:
        return ""
    program = text[first.start() :]
    if language == "cpp":
        return program[: program.rfind("}") + 1]
    for _ in range(CUTS):
        try:
            ast.parse(program)
            return program
        except SyntaxError as error:
            lines = program.split("\n")
            program = "\n".join(lines[: min(len(lines), error.lineno or 1) - 1])
        except (ValueError, RecursionError, MemoryError):
            break
    return ""


def _fenced(program: str, language: str) -> str:
    longest = max(map(len, re.findall(r"`+", program)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{program}\n{fence}"
