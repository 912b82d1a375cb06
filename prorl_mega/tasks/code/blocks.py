"""The program in an answer: the last fenced block of its language after the thoughts.

What stands in a string or a comment of a program is a part of the program, whatever it looks like: three backticks in
a docstring end no block, and a printed `</think>` ends no thought.
"""

from __future__ import annotations

import ast
import re

from prorl_mega.tasks import extract

_OPENING = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?)(`{3,}|~{3,})[ \t]*\{?\.?([\w+#.-]*)[^`]*")
_OPENING_LINE = re.compile(r"^[^`~\n]{0,32}(```|~~~)[^\n]*\n", re.MULTILINE)
_TAGS = {
    "python": re.compile(r"(?:python|py|ipython)(?:[23](?:\.\d+)?)?", re.IGNORECASE),
    "cpp": re.compile(r"(?:cpp|c\+\+|gnu\+\+|cc|cxx)(?:\d\d)?", re.IGNORECASE),
}
_CLOSING = r"^[ \t]*(?P<closing>`{3,}|~{3,})[ \t]*$"
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?"
_DOCSTRINGS = r"\"\"\"(?:[^\"\\]|\\.|\"(?!\"\"))*+(?:\"\"\")?|'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?"
_WORDS = {  # strings, comments and ends of blocks; one that is never closed goes on to the end, in linear time
    "python": re.compile(rf"{_CLOSING}|#[^\n]*+|{_DOCSTRINGS}|{_QUOTED}", re.DOTALL | re.MULTILINE),
    "cpp": re.compile(
        rf"{_CLOSING}|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|R\"\((?:[^)]|\)(?!\"))*+(?:\)\")?|{_QUOTED}",
        re.DOTALL | re.MULTILINE,
    ),
}
_PATIENCE = 8  # blocks that do not end well, after which strings and comments are no longer looked at
_SHIELDS = {ord(mark): 0xE000 + number for number, mark in enumerate("`~<[◁")}  # marks begin with these
_UNSHIELD = {shield: mark for mark, shield in _SHIELDS.items()}


def last_block(answer: str, language: str) -> str | None:
    """The last complete block that is marked as `language`; without one, the last unmarked block."""
    text = extract.clean(answer)
    shielded = _shield(text, _WORDS[language])
    found = _last_block(extract.after_thinking(shielded), _TAGS[language])
    found = found and found.translate(_UNSHIELD)
    if shielded == text or (found is not None and (language != "python" or _is_python(found))):
        return found
    # A string that never ends takes the blocks behind it for its contents.
    return _last_block(extract.after_thinking(text), _TAGS[language]) or found


def _last_block(text: str, tags: re.Pattern[str]) -> str | None:
    found: dict[bool, str] = {}  # by whether it is marked
    fence, tag, indent = "", "", 0
    lines: list[str] = []
    for line in text.split("\n"):
        if not fence:
            opening = _OPENING.fullmatch(line[:200]) if "```" in line or "~~~" in line else None
            if opening:
                fence, tag, indent, lines = opening[2], opening[3], len(opening[1]), []
        elif line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            if not tag or tags.fullmatch(tag):
                found[bool(tag)] = "\n".join(lines)
            fence = ""
        else:
            lines.append(line[min(indent, len(line) - len(line.lstrip())) :])
    block = found.get(True, found.get(False))
    return block if block is not None and block.strip() else None


def _shield(text: str, words: re.Pattern[str]) -> str:
    """The text with other characters for those that begin a mark, in the strings and comments of whole blocks."""
    parts, done, patience = [], 0, _PATIENCE
    opening = _OPENING_LINE.search(text)
    while opening is not None and patience > 0:
        block, end = _shielded_block(text, opening.end(), opening[1], words)
        if block is None or extract.after_thinking(block) != block:  # a thought may end before its blocks do
            patience -= 1
            end = opening.end()
        else:
            parts += [text[done : opening.end()], block]
            done = end
        opening = _OPENING_LINE.search(text, end)
    return "".join(parts) + text[done:]


def _shielded_block(text: str, start: int, fence: str, words: re.Pattern[str]) -> tuple[str | None, int]:
    """A block from the line after its opening to the end of its closing fence, and where that is; None without one."""
    parts, done = [], start
    for word in words.finditer(text, start):
        if word["closing"] is None:
            parts += [text[done : word.start()], word[0].translate(_SHIELDS)]
            done = word.end()
        elif word["closing"].startswith(fence):
            return "".join(parts) + text[done : word.end()], word.end()
    return None, start


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
