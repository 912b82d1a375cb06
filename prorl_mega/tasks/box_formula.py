r"""The formula around a box: what touches the box belongs to the answer.

`-\boxed{82}` answers -82, `x > \boxed{82}` an inequality and `\boxed{82} = 83` nothing that is true. Left sides of
equations, separators, units and words do not belong to it.
"""

from __future__ import annotations

import re

from prorl_mega.tasks.answers.approximation import near
from prorl_mega.tasks.answers.literal import LETTERS, number
from prorl_mega.tasks.box_sentence import WINDOW, in_words

_FENCE = re.compile(
    r"\\(?:[()\[\]]|\\(?:\[[^\]\n]{0,8}\])?|\$|(?:begin|end)\{[a-zA-Z]+\*?\}(?:\{[lcr|]*\})?)|\$\$?|\n\s*\n"
)
_NAMED = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|rm)\*?\s?\{[^{}]*\}"
_TOKEN = re.compile(
    r"(?P<spacing>\\[,;:! ]|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|hfill|limits|bf|[lL]arge|LARGE|[hH]uge"
    r"|quad|qquad)(?![A-Za-z])|\\(?:[hv]?space|phantom|(?:text)?color)\s?\{[^{}]{0,12}\}|\{\s*\}|[~&\s])"
    r"|(?P<arrow>\\(?:to|iff|implies|therefore|because|since|leadsto|mapsto|(?:long|Long)?(?:left)?[rR]ightarrow|"
    r"Longleftrightarrow)(?![A-Za-z])|[=-]>|[→⇒⟹∴])"
    r"|(?P<relation>\\(?:approx|equiv|simeq|cong|colon)(?![A-Za-z])|:?(?<![<>])(?<!\s!)=|[≈≡])"
    r"|(?P<note>\^\s?(?:\\circ(?![A-Za-z])|\{\s?\\circ\s?\})|\^\s?\{?(?:\s?\\prime)+\s?\}?|[°%¢€£¥]|\\[%$]"
    r"|\\pmod\s?(?:\{[^{}]*\}|\w)|\\b?mod(?![A-Za-z])|\(\s?(?:\\(?:text|mathrm|operatorname)\{)?\s?mod\b[^()]*\)"
    r"|\\tag\*?\{[^{}]*\}|\\(?:blacksquare|square|qed|Box|checkmark|AA|mu|Omega|degree|circ)(?![A-Za-z]))"
    r"|(?P<separator></?[A-Za-z][^<>]{0,40}>|<\|[^<>|]{0,40}\|>|(?<![0-9]),|,(?![0-9])|\.(?![0-9]|\\overline)|(?<![0-9\s])\.(?!\\overline)|[;:?]"
    r"|[^\x00-\x7fͰ-Ͽ−×÷·⋅±∓≠≤≥≮≯∉∈√∞¬⁰-⁺¹²³½¼¾⅓⅔])"
    rf"|(?P<word>{_NAMED}|(?!(?:sqrt|sin|cos|tan|log|ln|exp)(?![A-Za-z]))[A-Za-z]{{2,}}(?:['’][a-z]+)?)"
    r"|(?P<mark>\\not\s?(?:=|\\[A-Za-z]+|.)|\\boxed|\\[A-Za-z]+|\\?.)",
    re.DOTALL,
)
_UNIT = re.compile(
    r"/\s?(?:[A-Za-z]|\\(?:text|mathrm)|$)|\{~?[A-Za-z]{1,12}\}|\[\s?\\mathrm|[msghJVNWKCFALTHMGR](?![A-Za-z])"
    r"|\\[dt]?frac\s?\{\s?\\(?:text|mathrm)|\\q?quad\s*\("
)
_PROSE = re.compile(  # what ends a formula in plain text
    r"[-–—'’]\s?[A-Za-z]{2}|(?<!\s)[*_`]{1,3}(?![*_`0-9A-Za-z]|\s+[-0-9]|(?<=_)\{)|[\"”|]|\s*[-–—]\s|\s+[(\[]|!(?=\s|$)"
    r"|\s*</?[A-Za-z|!]|\s+[AIa](?=\s)"
)
_BULLET = re.compile(r"\s*(?:(?:[-*+•>|#]{1,6}|[0-9]{1,2}[.)]|\([0-9A-Za-z]{1,3}\))\s+)+")
_FILLER = re.compile(r"[*_`\"'“‘|]+\s*|[A-Za-z–—-]\s+")  # opening marks, an article, a dash
_WRAPPER = re.compile(r"\\(?:text|textbf|mathbf|mathrm|bm|boldsymbol|underline|(?:text)?color\s?\{[a-z]+\})\s?$")
_PAIRS = {"(": ")", "{": "}", "*": "*", "_": "_", "`": "`", '"': '"', "'": "'", "“": "”"}
_OPERATOR = r"(?:\\(?:not|neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in|times|cdot|div|pm|mp)(?![A-Za-z])|[≠≤≥±×÷∉])"
_HANGING = re.compile(rf"(?:{_OPERATOR}|(?<=\S)\s?[<>])\s*$|(?<![\w.-])(?:-|[0-9]+)$")
_HANGS_WITHIN = 64  # characters: an operator, and a tag behind it
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,40}>|<\|[^<>|]{0,40}\|>")
_CONTINUED = re.compile(rf"\s*(?:{_OPERATOR}|[=≈<>]\s?[-0-9$\\]|\^|_[0-9{{]|[*+/-]\s?[0-9])")
_RELATION = re.compile(r"\s?(?:=|\\approx|[<>≠≤≥∈∉]|\\(?:neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in)(?![A-Za-z]))")
_RELATION_END = re.compile(r"(?:[<>=≠≤≥∈∉]|\\(?:neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in))$")
_COMPARED = re.compile(r"(<|>|\\lt|\\gt)\s?(.+)")
_MEMBER = re.compile(r"(?:\\in|∈)$")
_CONGRUENT = (r"\equiv", "≡")
_MONEY = ("$", r"\$", "€", "£", "¥")

_LINE_END = re.compile(r"\n|[.!?](?=\s)")


def completed(text: str, opening: int, start: int, end: int) -> str:
    r"""The answer of the box `text[opening : end + 1]`: its contents `text[start:end]` and what its formula adds."""
    content = text[start:end].strip()
    prefix, plain = _before(text[max(0, opening - WINDOW) : opening])
    suffix = _unless_true(content, _after(text[end + 1 : end + 1 + WINDOW], content, plain))
    while suffix and _PAIRS.get(prefix.rstrip()[-1:]) == suffix[0]:
        prefix, suffix = _WRAPPER.sub("", prefix.rstrip()[:-1]), suffix[1:].lstrip()
        suffix = _after(suffix, content, plain) if suffix else ""
    if plain and (_FILLER.fullmatch(prefix) or _BULLET.fullmatch(prefix)):
        prefix = ""
    prefix, suffix = prefix.strip().removeprefix("+"), suffix.strip()
    if prefix.endswith("=") and (not content.isdigit() or number(prefix[:-1]) == number(content)):
        prefix = ""
    prefix, suffix = prefix if prefix.strip("{ ") else "", suffix if suffix.strip("} ") else ""  # of fonts, or stray
    if not prefix and not suffix:
        return content
    if _MEMBER.search(prefix) and not suffix:
        return content if number(content) is None else rf"\in {content}"  # of a set, not of a number
    whole = _RELATION_END.search(prefix) or _RELATION.match(suffix)
    if whole or (prefix in ("", "-") and number(content) is not None and not suffix[:1].isdigit()):
        return f"{prefix}{content}{suffix}"
    return f"{prefix}({content}){suffix}"


def _unless_true(content: str, suffix: str) -> str:
    """The part behind a box; empty if it only compares the box with a number, and rightly: 82 < 100."""
    match = _COMPARED.fullmatch(suffix)
    if match is None:
        return suffix
    value, other = number(content), number(match[2])
    if value is None or other is None:
        return suffix
    return "" if (value < other if match[1] in ("<", r"\lt") else value > other) else suffix


def _before(text: str) -> tuple[str, bool]:
    """The part of its formula that touches a box from the left; and whether the box stands in plain text."""
    fences = [fence for fence in _FENCE.finditer(text) if fence[0] != r"\$"]
    fence = fences[-1] if fences else None
    piece = text[fence.end() :] if fence else text
    plain = fence is None or fence[0] in (r"\)", r"\]") or fence[0].startswith((r"\end", "\n"))
    if plain:
        piece = _LINE_END.split(piece)[-1]
    kept, prose = "", False
    for token in _TOKEN.finditer(piece + "0"):  # a digit in place of the box: no comma separates 1,\boxed{000}
        kind, place = token.lastgroup, token.end()
        if place > len(piece):
            break
        if kind == "word" and not plain and place == len(piece) and token[0].isalpha() and len(token[0]) < 4:
            kind = "mark"
        prose |= kind == "word" and token[0][0] != "\\"
        if kind in ("mark", "note", "spacing"):
            kept += " " if kind == "spacing" else token[0]
        else:
            kept = f"{kept.strip()}=" if token[0] == "=" and kept.strip().isdigit() else ""
    kept = kept if kept.rstrip().endswith("=") else kept.rpartition("=")[2]
    if fence and not piece.strip():
        end = fence.start()
        if hanging := _HANGING.search(_TAG.sub(" ", text[max(0, end - _HANGS_WITHIN) : end])):
            kept = hanging[0]
    return "" if kept.strip() in _MONEY else kept.lstrip(), plain or prose


def _after(text: str, content: str, plain: bool) -> str:
    """The part of its formula that touches a box from the right, apart from units."""
    fence = next((fence for fence in _FENCE.finditer(text) if fence[0] != r"\$"), None)
    piece = text[: fence.start()] if fence else text
    piece = "0" + (piece.partition("\n")[0] if plain else piece)  # a digit in place of the box
    words = in_words(content)
    place = 1
    while place < len(piece):
        if (plain and _PROSE.match(piece, place)) or (not words and _UNIT.match(piece, place)):
            return ""
        token = _TOKEN.match(piece, place)
        assert token is not None
        following = piece[token.end() :]
        if token[0] == ":" and (following if plain else following.lstrip())[:1].isdigit():
            return piece[place:]  # a ratio
        if token.lastgroup == "relation":
            return _links(_run(piece, token.end()), token[0], content)
        if token.lastgroup == "mark":
            return "" if token[0] == r"\boxed" and place > 1 else _run(piece, place)
        if token.lastgroup not in ("spacing", "note"):
            return ""
        place = token.end()
    if fence and not plain and _CONTINUED.match(rest := text[fence.end() :]):
        return _after(rest.replace("$", " "), content, True)
    return ""


def _run(text: str, place: int) -> str:
    """The part of a text from `place` to the next word, separator or arrow."""
    for token in _TOKEN.finditer(text, place):
        if token.lastgroup in ("word", "separator", "arrow"):
            return text[place : token.start()].strip()
    return text[place:].strip()


def _links(links: str, relation: str, content: str) -> str:
    """The further links of a chain that a box begins, if they are numbers that may differ from it."""
    if not links or LETTERS.search(links) or relation in _CONGRUENT:
        return ""
    if relation.endswith("=") and number(content) is not None and number(content) == number(links):
        return ""
    if not relation.endswith("=") and near(content, links):
        return ""
    return f" = {links}" if relation.endswith("=") else rf" \approx {links}"
