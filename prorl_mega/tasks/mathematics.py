r"""Whether a mathematical answer equals the reference.

Numbers are compared exactly, as fractions. Everything else goes to math-verify, after rules of our own for what it
accepts wrongly: a chain like `1 = 2 = 3 = 4`, a sum or integral that was copied instead of computed, an answer that is
an expression where a number was asked for. math-verify parses LaTeX only here; its plain-text parser evaluates Python.

math-verify can hang on hostile input: call `equivalent` in worker processes only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

MAX_LENGTH = 512  # characters of an answer

# A number has at most 64 digits.
_WHOLE = r"(?:\d{1,3}(?:,\d{3}){1,20}|\d{1,64})"
_DECIMAL = re.compile(rf"([+-]?)({_WHOLE}(?:\.\d{{0,64}})?|\.\d{{1,64}})")
_RATIO = re.compile(
    r"([+-]?)(?:\\[dt]?frac\{([+-]?\d{1,64})\}\{([+-]?\d{1,64})\}|\\[dt]?frac(\d)(\d)|(\d{1,64})/(\d{1,64}))"
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPACING = re.compile(r"\\[,!;: ]|\\left(?![a-z])|\\right(?![a-z])|~")
_EQUALS = re.compile(r"(?<![<>!\\:])=")
_UNEVALUATED = re.compile(r"\\(?:sum|int|prod|lim|binom|oint|iint)(?![a-z])|!")
_OPERATORS = re.compile(r"[-+*/^!&|;]|\\(?:cdot|div|pm|mp|sqrt|log|ln|sin|cos|tan|cup|cap|mod|bmod)(?![a-z])")
_SCIENTIFIC = re.compile(
    r"([+-]?\d{1,32}(?:\.\d{0,32})?)\s{0,4}(?:\\times|\\cdot|\*|x|×)\s{0,4}10\^\{?([+-]?\d{1,2})\}?"
)


def number(text: str) -> Fraction | None:
    r"""The value of a literal: integer, decimal, thousands commas, a/b, \frac{a}{b}, a·10^n; None for anything else."""
    text = bare(text)
    if match := _DECIMAL.fullmatch(text):
        value = Fraction(match[2].replace(",", ""))
        return -value if match[1] == "-" else value
    if match := _RATIO.fullmatch(text):
        above, below = [int(part) for part in match.groups()[1:] if part is not None]
        if below == 0:
            return None
        return -Fraction(above, below) if match[1] == "-" else Fraction(above, below)
    if match := _SCIENTIFIC.fullmatch(text):
        return Fraction(match[1]) * Fraction(10) ** int(match[2])
    return None


def bare(text: str) -> str:
    """An answer without what only decorates it: dollar signs, LaTeX spacing, a final full stop, a leading `x =`."""
    text = _SPACING.sub("", text.strip()[: MAX_LENGTH + 1]).replace("{,}", ",").strip()
    for left, right in _WRAPPERS:
        if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
            text = text[len(left) : -len(right)].strip()
    text = text.removesuffix(".").strip()
    name, equals, value = text.partition("=")
    if equals and re.fullmatch(r"\s*\\?[A-Za-z]{1,12}\s*", name) and not _EQUALS.search(value):
        text = value.strip()
    return text


def equivalent(reference: str, answer: str) -> bool:
    """Whether `answer` is `reference` in other words. False, never an exception, for what cannot be understood."""
    if len(answer) > MAX_LENGTH or not answer.strip():
        return False
    wanted, got = number(reference), number(answer)
    if wanted is not None and got is not None:
        return wanted == got
    gold, candidate = bare(reference), bare(answer)
    if gold == candidate:
        return True
    if wanted is not None and _OPERATORS.search(candidate):
        return False  # a number was asked for and a calculation was given
    if _too_wild(candidate) or len(_EQUALS.findall(candidate)) > len(_EQUALS.findall(gold)):
        return False
    if _UNEVALUATED.search(candidate) and not _UNEVALUATED.search(gold):
        return False
    return _math_verify(gold, candidate)


def prepare() -> None:
    """Import math-verify and its parser (half a second)."""
    _math_verify("x+1", "1+x")


def _too_wild(text: str) -> bool:
    """Towers of powers, huge exponents and huge numbers: no answer has them, and sympy would compute for hours.

    Also braces that do not match: they would close the box in which the answer is handed on.
    """
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return True
    if depth:
        return True
    towers = text.count("^") > 6 or re.search(r"\^\{?[^{}^]{0,32}\^", text)
    return bool(towers or re.search(r"\^\{?[+-]?\d{4}", text) or re.search(r"\d{65}", text))


def _math_verify(reference: str, answer: str) -> bool:
    from math_verify import verify

    gold = _parsed(reference)
    try:
        # No time-out of its own: it uses SIGALRM, and the worker that runs this is killed from outside.
        return bool(gold) and bool(verify(gold, _parse(answer), timeout_seconds=None))
    except MemoryError:
        raise
    except Exception:  # sympy raises nearly everything for what it cannot compare
        return False


def _parse(text: str) -> Any:
    import logging

    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse(rf"\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()], parsing_timeout=None)


_parsed = lru_cache(maxsize=256)(_parse)  # one reference meets many samples
