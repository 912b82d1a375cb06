"""A second verifier: two answers are the same if they are the same text once alternative LaTeX spellings are unified.

It shares no code with `equivalence`, so that the two can be compared. It calculates decimals and fractions only. Its
rules resemble the string graders of the MATH data set (Hendrycks et al. 2021) and of the first DeepScaleR.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

MAX_LENGTH = 512

_DROPPED = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|\\!|\\\$|\$|\\\(|\\\)")
_BLANK = re.compile(r"\\[,;:]|\\(?:quad|qquad)(?![a-z])|~")
_FONTS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s?\{([^{}]*)\}")
_UNIT = re.compile(
    r"(?<=[0-9}])\s*\\(?:text|mathrm|mbox)\s?\{\s*(?:square |cubic )?(?:[cmk]?m|in|inch|inches|feet|foot|ft|miles?|"
    r"meters?|units?|hours?|minutes?|seconds?|days?|years?|dollars?|cents?|degrees?|kg|g|grams?|people|students|ways)\s*\}"
    r"(?:\^\{?[23]\}?)?$"
)
_MONEY = re.compile(r"[-+]?\s*(?:\\\$|\$(?=[^$]*$))")
_NAME = re.compile(r"^\s*([A-Za-z])\s*=(?!.*=)(?!.*\1)")
_ROOT, _BARE_FRACTION = re.compile(r"\\sqrt\s*([0-9A-Za-z])"), re.compile(r"\\frac\s*([0-9])\s*([0-9])")
_SLASHED = re.compile(r"^(-?)([0-9]+)/([0-9]+)$")
_THOUSANDS = re.compile(r"^([+-]?)([0-9]{1,3}(?:,[0-9]{3})+)((?:\.[0-9]+)?)$")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,64}(?:\.[0-9]{0,64})?|\.[0-9]{1,64})")
_FRACTION = re.compile(r"(-?)\\frac\{(-?[0-9]{1,64})\}\{([0-9]{1,64})\}")
_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}"}


def agrees(reference: str, answer: str) -> bool:
    """Whether both are the same text after their spellings are unified."""
    if not answer.strip() or max(len(reference), len(answer)) > MAX_LENGTH:
        return False
    if _has_unit(reference) != _has_unit(answer) and _has_unit(answer):
        answer = _UNIT.sub("", answer.strip().removesuffix(".").strip("$"))
    names = _NAME.match(reference), _NAME.match(answer)
    if names[0] and names[1] and names[0][1] != names[1][1]:
        return False
    return _same(spelt(reference), spelt(answer))


def _same(gold: str, given: str) -> bool:
    if not given:
        return False
    if gold == given:
        return True
    values = _value(gold), _value(given)
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1]
    pieces = _pieces(gold), _pieces(given)
    if len(pieces[0]) < 2 or len(pieces[0]) != len(pieces[1]) or pieces[0][0] != pieces[1][0]:
        return False
    return all(_same(*pair) for pair in zip(pieces[0][1:], pieces[1][1:], strict=True))


@lru_cache(maxsize=1024)
def spelt(text: str) -> str:
    """The text in one of the spellings that mean the same."""
    text = text.strip().removesuffix(".")
    text = _BLANK.sub(" ", _DROPPED.sub("", text))
    text = _NAME.sub("", text)
    words = _FONTS.sub(r"\1", text).strip()
    if re.fullmatch(r"[A-Za-z][A-Za-z ]{2,}", words):
        return " ".join(words.lower().split())
    words = re.sub(r"(?<=[0-9,])\s+(?=[0-9])", "_", words)  # two numbers side by side are not one
    text = re.sub(r"\s+", "", words).replace("{,}", ",").replace("−", "-")
    text = text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac").replace(r"\%", "%")
    text = re.sub(r"\^\{?\\circ\}?$", "", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = _BARE_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _SLASHED.sub(r"\1\\frac{\2}{\3}", text)
    text = _THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", "") + match[3], text)
    text = re.sub(r"\^\{([0-9A-Za-z])\}", r"^\1", text)
    return text.removesuffix(".")


def _value(text: str) -> Fraction | None:
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    match = _FRACTION.fullmatch(text)
    if match is None or int(match[3]) == 0:
        return None
    value = Fraction(int(match[2]), int(match[3]))
    return -value if match[1] else value


def _has_unit(text: str) -> bool:
    plain = text.strip().removesuffix(".")
    return _UNIT.search(plain.strip("$")) is not None or _MONEY.match(plain) is not None


def _pieces(text: str) -> list[str]:
    """The brackets of a list followed by its items; [] if the text is no list."""
    brackets = ""
    for opening, closing in _BRACKETS.items():
        if text.startswith(opening) and text.endswith((")", "]") if closing != "\\}" else closing):
            ending = 2 if closing == "\\}" else 1
            brackets, text = opening + text[-ending:], text[len(opening) : -ending]
            break
    pieces, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        if character == "," and depth == 0:
            pieces.append(text[start:place].strip("_"))
            start = place + 1
    pieces.append(text[start:].strip("_"))
    return [brackets, *pieces] if len(pieces) > 1 and all(pieces) else []
