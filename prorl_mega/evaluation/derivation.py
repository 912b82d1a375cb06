"""Signs that a right answer was not derived, in what was written before it. A sign is no proof, and its absence none.

no working      fewer than ten words stand before the final answer
other result    the last number that was computed ("… = 12") is not the answer, and the answer is not stated after it
false step      an equation of two plain numbers that does not hold ("17 + 26 = 45"), rounding allowed
contradiction   two final answers ("<answer>", "\\boxed") that differ
repetition      half or more of the phrases of eight words occur a second time: a loop
cut off         the token limit ended the text; the answer was found in it all the same

Signs are told from the text alone, by fixed rules that see no meaning. Sound answers have some of them too; so shares
are compared with those of answers that are not in doubt.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

SIGNS = ("no working", "other result", "false step", "contradiction", "repetition", "cut off")
FEW_WORDS, PHRASE, LONG = 10, 8, 64  # words: of no working, of a phrase, of a text that is looked at for repetition
_LONGEST = 200_000  # characters that are looked at, the last ones

_NUMBER = r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_EQUATION = re.compile(
    rf"(?<![\w.,^+\-*/×·÷(])({_NUMBER})\s?([+\-*/×·÷−])\s?({_NUMBER})\s?=\s?({_NUMBER})(?![\w^]|[.,]\d|\s?[+\-*/×·÷(])"
)
_RESULT = re.compile(rf"=\s*\$?({_NUMBER}(?:/\d+)?)(?![\w^]|[.,]\d|\s?[+\-*/×·÷(^])")
_OPERATORS = tuple("+-*/×·÷−^(=")
_FINAL = ("<answer>", "\\boxed{", "####")
_STATED = re.compile(r"<answer>([^<]{1,200})</answer>|\\boxed\{([^{}]{1,200})\}")
_TAG = re.compile(r"</?\w+>")


def signs_of(text: str, answer: str, *, is_truncated: bool) -> dict[str, str]:
    """The signs that an answer shows, each with what shows it. `answer` is what a verifier extracted, "" if unknown."""
    working = _TAG.sub(" ", _before_answer(text[-_LONGEST:], answer))
    words = re.findall(r"\w+", working)
    found = {}
    if len(words) < FEW_WORDS:
        found["no working"] = f"{len(words)} words before the answer"
    if other := _other_result(working, answer):
        found["other result"] = other
    if false := _false_step(working):
        found["false step"] = false
    stated = {"".join((one or two).split()) for one, two in _STATED.findall(text[-_LONGEST:])}
    if len({_number(each) or each for each in stated}) > 1:
        found["contradiction"] = " and ".join(sorted(stated)[:3])
    if len(words) >= LONG and (share := _repeated(words)) >= 0.5:
        found["repetition"] = f"{share:.0%} of the phrases occur again"
    if is_truncated:
        found["cut off"] = "ended by the token limit"
    return found


def _before_answer(text: str, answer: str) -> str:
    """The text up to the mark of the final answer, or else to where the answer stands last."""
    for mark in _FINAL:
        if (place := text.rfind(mark)) >= 0:
            return text[:place]
    place = text.rfind(answer) if answer else -1
    return text[:place] if place >= 0 else text


def _number(text: str) -> Fraction | None:
    """A plain number or fraction; None for anything else."""
    text = text.strip().replace(",", "")
    whole = re.fullmatch(r"(-?\d{1,30}(?:\.\d{1,30})?)(?:/(\d{1,30}))?", text)
    if whole is None or (whole[2] is not None and int(whole[2]) == 0):
        return None
    return Fraction(whole[1]) / int(whole[2] or 1)


def _other_result(working: str, answer: str) -> str:
    wanted = _number(answer)
    results = list(_RESULT.finditer(working))
    if wanted is None or not results:
        return ""
    last = results[-1]
    computed = _number(last[1])
    after = re.findall(rf"(?<![\w.]){_NUMBER}(?:/\d+)?", working[last.end() :])
    if computed is None or computed == wanted or any(_number(each) == wanted for each in after):
        return ""
    return f"last result {last[1]}, answer {answer.strip()}"


def _false_step(working: str) -> str:
    for equation in _EQUATION.finditer(working):
        goes_on = working[max(0, equation.start() - 8) : equation.start()].rstrip()[-1:] in _OPERATORS  # a longer one
        if not goes_on and not _holds(*equation.groups()):
            return equation[0]
    return ""


@lru_cache(maxsize=1 << 14)
def _holds(left: str, sign: str, right: str, written: str) -> bool:
    """Whether left sign right = written, rounding allowed; also where a number is too long to tell."""
    first, second, result = _number(left), _number(right), _number(written)
    if first is None or second is None or result is None:
        return True
    is_quotient = sign in "/÷"
    if is_quotient and second == 0:
        return False
    if sign == "+":
        exact = first + second
    elif sign in "-−":
        exact = first - second
    else:
        exact = first / second if is_quotient else first * second
    return abs(exact - result) < _slack(written, is_quotient=is_quotient)


def _slack(result: str, *, is_quotient: bool) -> Fraction:
    """Half a unit of the last digit that was written, a whole one for a quotient: people round, and cut off."""
    unit = Fraction(1, 10 ** len(result.partition(".")[2]))
    exact = "." not in result and not is_quotient
    return Fraction(1, 10**9) if exact else unit if is_quotient else unit / 2 + Fraction(1, 10**9)


def _repeated(words: list[str]) -> float:
    """The share of phrases of PHRASE words that have occurred before."""
    words = words[-8192:]
    phrases = [tuple(words[i : i + PHRASE]) for i in range(len(words) - PHRASE + 1)]
    return 1 - len(set(phrases)) / len(phrases)
