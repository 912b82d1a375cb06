r"""The surroundings of a box: its formula can change the answer, the words of its sentence can deny or hedge it.

`-\boxed{82}` answers -82 and `x > \boxed{82}` an inequality: what touches the box in its formula is a part of the
answer. Left sides of equations, separators, units and words are not. "It is not \boxed{82}" gives no answer, and
"\boxed{82} or 83" gives two. Only the formula and the sentence around the box are read, at most `WINDOW` characters to
each side.
"""

from __future__ import annotations

import re

from prorl_mega.tasks.answers.literal import LETTERS, MARKUP, near, number

WINDOW = 400

_FENCE = re.compile(
    r"(?<!\\)\$\$?|\\[()\[\]]|\\(?:begin|end)\{[a-zA-Z]+\*?\}(?:\{[lcr|]*\})?|\\\\(?:\[[^\]\n]{0,8}\])?|\n\s*\n"
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
    r"|(?P<separator></?[A-Za-z][^<>]{0,40}>|<\|[^<>|]{0,40}\|>|(?<![0-9]),|,(?![0-9])|\.(?![0-9])|(?<![0-9\s])\.|[;:?]"
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
    r"[-–—'’]\s?[A-Za-z]{2}|(?<!\s)[*_`]{1,3}(?![*_`0-9A-Za-z]|\s+[-0-9])|[\"”|]|\s*[-–—]\s|\s+[(\[]|!(?=\s|$)"
    r"|\s*</?[A-Za-z|!]|\s+[AIa](?=\s)"
)
_BULLET = re.compile(r"\s*(?:(?:[-*+•>|#]{1,6}|[0-9]{1,2}[.)]|\([0-9A-Za-z]{1,3}\))\s+)+")
_FILLER = re.compile(r"[*_`\"'“‘|]+\s*|[A-Za-z–—-]\s+")  # opening marks, an article, a dash
_WRAPPER = re.compile(r"\\(?:text|textbf|mathbf|mathrm|bm|boldsymbol|underline|(?:text)?color\s?\{[a-z]+\})\s?$")
_PAIRS = {"(": ")", "{": "}", "*": "*", "_": "_", "`": "`", '"': '"', "'": "'", "“": "”"}
_OPERATOR = r"(?:\\(?:not|neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in|times|cdot|div|pm|mp)(?![A-Za-z])|[≠≤≥±×÷∉])"
_HANGING = re.compile(rf"(?:{_OPERATOR}|(?<=\S)\s?[<>])\s*$|(?<![\w.-])(?:-|[0-9]+)$")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,40}>|<\|[^<>|]{0,40}\|>")
_CONTINUED = re.compile(rf"\s*(?:{_OPERATOR}|[=≈<>]\s?[-0-9$\\]|\^|_[0-9{{]|[*+/-]\s?[0-9])")
_RELATION = re.compile(r"\s?(?:=|\\approx|[<>≠≤≥∈∉]|\\(?:neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in)(?![A-Za-z]))")
_RELATION_END = re.compile(r"(?:[<>=≠≤≥∈∉]|\\(?:neq?|lt|gt|leq?|geq?|leqslant|geqslant|notin|in))$")
_MEMBER = re.compile(r"(?:\\in|∈)$")
_CONGRUENT = (r"\equiv", "≡")
_MONEY = ("$", r"\$", "€", "£", "¥")

_LINE_END = re.compile(r"\n|[.!?](?=\s)")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n\s*\n|\n\s*(?=[-*#•|]\s)")
_SENTENCE_AFTER = re.compile(r"[.!?](?=\s|$)|\n(?![ \t]*[a-z0-9$\\])")
_QUESTION = re.compile(r"[^.!\n]{0,200}\?")
_FLATTENED = re.compile(
    r"\\[()\[\]]|(?<!\\)\$+|\\(?:begin|end)\{[a-zA-Z]+\*?\}|[*`&]|\\\\|\\[,;:! ]|\\q?quad(?![A-Za-z])"
)
_FILLERS = (
    r"(?:\s+(?:be|been|equals?|equal|to|it|this|is|as|the|an?|our|my|final|correct|right|answer|value|number|result|solution|"
    r"simply|just|really|actually|exactly|necessarily|yet|even|of|[A-Za-z\\]{1,8}\s?=))*\s*[:=]?\s*$"
)
_NOT_THIS = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bneither|\bnor|\bno longer|\bother than|\bexcept(?: for)?|\binstead of|\brather than|"
    r"\banything but|\bfar from|\bdifferent from|\bexclud(?:es?|ed|ing)|\brul(?:es?|ed|ing) out|\breject(?:s|ed|ing)?|"
    r"(?<!\bno )(?<!\bnot )\b(?:more|less|greater|smaller|larger|fewer|higher|lower|bigger) than|"
    rf"\b(?:wrong|incorrect|false)){_FILLERS}|(?:~~|<(?:s|del|strike)>|<!--)\s*$",
    re.IGNORECASE,
)
_NOT_SO = re.compile(
    r"(?:\bnot|n['’]t|\bnever)\s+(?:\w+ly\s+)?(?:true|correct|right|the case|valid|so|possible)\s+(?:that|to)\b"
    r"|\b(?:false|wrong|incorrect|untrue|mistaken|impossible|unlikely|doubtful|mistake|error|lie)\s+"
    r"(?:that|to (?:say|think|claim|conclude|assume|answer|believe|write))\b"
    r"|\b(?:do|does|did|can|could|would|should)(?:\s+not|n['’]t)\s+"
    r"(?:think|believe|claim|say|agree|accept|answer|conclude|mean)\b"
    r"|(?<!\bno )(?<!\ba )(?<!\bwithout )\bdoubt\b|\b(?:deny|denies|disagree|refuse to)\b",
    re.IGNORECASE,
)
_CONSEQUENCE = re.compile(r"\b(?:so|thus|hence|therefore|consequently|but|instead)\b|;", re.IGNORECASE)
_PERHAPS_THIS = re.compile(
    r"(?:\b(?:maybe|perhaps|possibly)|\b(?:could|might|may)(?:\s+\w+ly|\s+also)?\s+be|"
    r"\beither\s(?:(?!boxed)[^.])*\sor|"
    r"(?:^|\b(?:is|are|be|answers?:?)\s+)\(?[A-J]\)?\s+and)" + _FILLERS,
    re.IGNORECASE,
)
_SUBJECT = r"^[\W_]*(?:(?:which|that|this|it|and|but|though|the answer)\s+){0,3}"
_WRONG = re.compile(
    rf"{_SUBJECT}(?:(?:is|was|are|seems?|looks?|must be|would be|has been)\s+(?:to be\s+)?(?:\w+ly\s+)?)?"
    r"(?:wrong|incorrect|false|untrue|impossible|invalid|mistaken|rejected|excluded|ruled out|"
    r"(?:not|never) (?:right|correct|true|valid|possible|it|the (?:\w+ )?(?:answer|solution|result|value)))\b"
    rf"|{_SUBJECT}(?:is|was|does|do|did|can|could|will|would|should)(?:n['’]t|\s?not|\s+never)\s+(?:be\s+)?"
    r"(?:right|correct|true|valid|possible|it|work|fit|hold|satisfy|count|the (?:\w+ )?(?:answer|solution|result))\b"
    r"|^[\W_]*(?:fails|no[,!]|no\W*$|nope|not\W*$)"
    r"|^[\W_]*(?:plus|minus|times(?=\s+[0-9])|divided by|squared|cubed|factorial|hundred|dozen|thousand|[mb]illion)\b",
    re.IGNORECASE,
)
_PERHAPS_OTHER = re.compile(
    r"\b(?:could|might|may)\s+(?:\w+\s+)?be\s+(?:$|\W{0,3}[0-9\\]|wrong|incorrect|off|something|another|different|more|"
    r"less|false|mistaken|higher|lower)|\b(?:maybe|perhaps|possibly|unless|unsure)\b|\botherwise\W*$"
    r"|(?:\bnot|n['’]t) (?:\w+ )?(?:sure|certain|convinced)\b"
    r"|^\W*(?:[A-Za-z]+\s+)?or (?:so|more|less|something|another|higher|lower)\b|^\W*(?:and|,)\s+"
    r"(?:-?[0-9][0-9./]*|\(?[A-J]\)?)\W*$",
    re.IGNORECASE,
)
_OR_THIS = re.compile(
    r"(?:^|\b(?:is|are|be|equals?|answer:?|options?|choices?)\s)(?:the\s)?(?P<other>(?:(?!boxed)[^\s=]){1,40}),?\s(?:and/)?or"
    + _FILLERS,
    re.IGNORECASE,
)
_OR = re.compile(
    r"[\s,;()]*(?:(?P<unit>[A-Za-z]{1,12})\s+)?(?:and/)?or\b(?!\s+(?:in other words|else)\b)[\s,:]*"
    r"(?:(?:equivalently|simply|also|just|even|rather|as|option|choice|answer)[\s,:]+)*"
    r"(?P<about>(?:about|approximately|roughly|around|approx\.?|in decimal\w*|\\approx|[≈~])\s*)?(?P<other>\S.*)",
    re.IGNORECASE,
)
_OTHER_END = re.compile(r"[,.](?=\s|$)|;|\s\(|\s(?:if|when|for|depending|since|because|as|which|in|after|is|are|was)\b")
_WORDS, _LONG_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*"), re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")


def completed(text: str, opening: int, start: int, end: int) -> str:
    r"""The answer of the box `text[opening : end + 1]`: its contents `text[start:end]` and what its formula adds."""
    content = text[start:end].strip()
    prefix, plain = _before(text[max(0, opening - WINDOW) : opening])
    suffix = _after(text[end + 1 : end + 1 + WINDOW], content, plain)
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


def _before(text: str) -> tuple[str, bool]:
    """The part of its formula that touches a box from the left; and whether the box stands in plain text."""
    fences = list(_FENCE.finditer(text))
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
    if fence and not piece.strip() and (hanging := _HANGING.search(_TAG.sub(" ", text[: fence.start()]))):
        kept = hanging[0]
    return "" if kept.strip() in _MONEY else kept.lstrip(), plain or prose


def _after(text: str, content: str, plain: bool) -> str:
    """The part of its formula that touches a box from the right, apart from units."""
    fence = _FENCE.search(text)
    piece = text[: fence.start()] if fence else text
    piece = "0" + (piece.partition("\n")[0] if plain else piece)  # a digit in place of the box
    words = _WORDS.fullmatch(_without_fonts(content))
    place = 1
    while place < len(piece):
        if (plain and _PROSE.match(piece, place)) or (not words and _UNIT.match(piece, place)):
            return ""
        token = _TOKEN.match(piece, place)
        assert token is not None
        if token[0] == ":" and not plain and piece[token.end() :].lstrip()[:1].isdigit():
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


def rejected(text: str, opening: int) -> bool:
    """Whether the words before a box say that its contents are not the answer."""
    sentence = _sentence_before(text, opening)
    return bool(_NOT_THIS.search(sentence) or _NOT_SO.search(_CONSEQUENCE.split(sentence)[-1]))


def doubted(text: str, opening: int, end: int) -> bool:
    """Whether the sentence around a box denies it afterwards, or leaves open whether it is the answer."""
    if _QUESTION.match(text, end + 1):
        return True
    before, after = _sentence_before(text, opening), _sentence_after(text, end)
    return bool(_PERHAPS_THIS.search(before) or _WRONG.match(after) or _PERHAPS_OTHER.search(after))


def alternatives(text: str, opening: int, end: int, content: str) -> list[str]:
    """The other answers in the sentence of a box, as in "82, or 83 if zero counts"."""
    found = []
    words = _WORDS.fullmatch(_without_fonts(content))
    if match := _OR_THIS.search(_sentence_before(text, opening)):
        other = _without_fonts(match["other"])
        found += [other] if number(other) is not None or (words and _WORDS.fullmatch(other)) else []
    match = _OR.match(_sentence_after(text, end))
    if match is None or (match["about"] and number(content) is None):
        return found
    other = _OTHER_END.split(match["other"])[0].removesuffix(match["unit"] or "").strip()
    if not other or "boxed" in other or near(content, other):
        return found
    in_words = _LONG_WORD.search(other)  # "82 or in other words"
    return found if in_words and (match["unit"] or not words) else [*found, other]


def _without_fonts(content: str) -> str:
    return MARKUP.sub(r"\1", content).strip(" $()")


def _sentence_before(text: str, opening: int) -> str:
    return _flat(_SENTENCE_END.split(text[max(0, opening - WINDOW) : opening])[-1])


def _sentence_after(text: str, end: int) -> str:
    rest = _FLATTENED.sub(" ", text[end + 1 : end + 1 + WINDOW])
    return _flat(_SENTENCE_AFTER.split(rest, maxsplit=1)[0])


def _flat(text: str) -> str:
    """The words of a text with formulas, without fences, fonts and emphasis; single blanks."""
    return " ".join(_FLATTENED.sub(" ", MARKUP.sub(r" \1 ", text)).split())
