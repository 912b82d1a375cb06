r"""Verdicts of math-verify on LaTeX, within a time limit; formulas that would take hours never reach it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from prorl_mega.tasks.answers.literal import EQUALS, MAX_LENGTH, balanced
from prorl_mega.time_limit import OutOfTimeError, time_limit

MATH_VERIFY_S = 1.5  # processor time for one answer; an answer that takes longer is wrong
_UNEVALUATED = re.compile(r"\\(?:sum|int|prod|lim|binom|oint|iint)(?![a-z])|!")
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_INVERSE = re.compile(r"[A-Za-z]'?\^\{?-1\}?\s?(?:\\left)?\(")
_JUDGED = frozenset(
    (r"\sum", r"\int", r"\iint", r"\oint", r"\prod", r"\lim", r"\to", r"\infty", r"\frac", r"\dfrac", r"\tfrac",
     r"\sqrt", r"\pi", r"\cdot", r"\times", r"\le", r"\leq", r"\ge", r"\geq", r"\sin", r"\cos", r"\tan", r"\ln",
     r"\log", r"\exp", r"\binom", r"\theta", r"\alpha", r"\beta", r"\gamma", r"\lambda", r"\mu", r"\phi", r"\cup",
     r"\cap", r"\quad")
)  # fmt: skip
"""Commands whose meaning math-verify knows. It skips other commands and words: gcd(a,b) would equal gcd(b,c)."""


def can_judge(reference: str) -> bool:
    """Whether math-verify knows every command of a reference, and no inverse function is read as a reciprocal."""
    if _INVERSE.search(reference):
        return False
    return _JUDGED.issuperset(_COMMANDS.findall(reference)) and ":" not in reference and not _too_wild(reference)


def equal(reference: str, answer: str) -> bool:
    """Whether an answer equals a reference that `can_judge` accepts. A chain of equations or a copied sum does not."""
    if _too_wild(answer) or len(EQUALS.findall(answer)) > len(EQUALS.findall(reference)):
        return False
    if _UNEVALUATED.search(answer) and not _UNEVALUATED.search(reference):
        return False
    return _verified(reference, answer)


def alone(reference: str, answer: str) -> bool:
    """The verdict of math-verify without our rules, except those that keep it from calculating for hours."""
    if len(answer) > MAX_LENGTH or _too_wild(answer) or not balanced(answer):
        return False
    return _verified(reference, answer)


def _too_wild(text: str) -> bool:
    """Whether a formula has towers of powers or huge numbers: no answer does, and sympy would compute for hours."""
    towers = text.count("^") > 6 or re.search(r"\^\{?[^{}^]{0,32}\^", text)
    factorials = re.search(r"[0-9]{4}\s?!|[)}!]\s?!|\\binom\{[0-9]{4}", text)
    repeated = len(re.findall(r"\^\{?[+-]?[0-9]{2}", text)) > 2 or re.search(r"\)\s?\^\{?[0-9]{2}", text)
    large = re.search(r"\^\{?[+-]?[0-9]{4}|[0-9]{65}", text)
    return bool(towers or factorials or repeated or large or text.count("(") > 24)


def _verified(reference: str, answer: str) -> bool:
    from math_verify import verify

    try:
        # Its own time-out counts wall-clock time. The pool kills code that cannot be interrupted.
        with time_limit(MATH_VERIFY_S):
            gold = _parsed(reference)
            return bool(gold) and bool(verify(gold, _parse(answer), timeout_seconds=None))
    except MemoryError:
        raise
    except (Exception, OutOfTimeError):  # sympy raises nearly everything for what it cannot compare
        return False


def _parse(text: str) -> Any:
    import logging

    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse(rf"\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()], parsing_timeout=None)


_parsed = lru_cache(maxsize=256)(_parse)
