r"""Answers without decoration, and the value of an answer that is a plain number."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from prorl_mega.tasks.answers.tokens import repeating

MAX_LENGTH = 512  # characters of an answer
# A number has at most 64 digits.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,20}|[1-9][0-9]{0,2}(?: [0-9]{3}){1,20}|[0-9]{1,64})"
_DECIMAL = re.compile(rf"([+-]?)({_WHOLE}(?:\.[0-9]{{0,64}})?|\.[0-9]{{1,64}})")
_REPEATING = re.compile(r"([+-]?)([0-9]{0,32}\.[0-9]{0,32}\\overline\{[0-9]{1,12}\})")
_RATIO = re.compile(
    r"([+-]?)(?:\\[dt]?frac\{([+-]?[0-9]{1,64})\}\{([+-]?[0-9]{1,64})\}|\\[dt]?frac([0-9])([0-9])"
    r"|([0-9]{1,64})/([0-9]{1,64}))"
)
_MIXED = re.compile(
    r"([+-]?)([0-9]{1,32})(?:\s{1,4}([0-9]{1,9})/([0-9]{1,9})|\\[dt]?frac\{([0-9]{1,9})\}\{([0-9]{1,9})\})"
)
_SCIENTIFIC = re.compile(
    r"([+-]?[0-9]{1,32}(?:\.[0-9]{0,32})?)\s{0,4}(?:\\times|\\cdot|\*|x|×)\s{0,4}10\^\{?([+-]?[0-9]{1,2})\}?"
)
_POWER_OF_TEN = re.compile(r"([+-]?)10\^\{?([+-]?[0-9]{1,2})\}?")
_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    (r"\boxed{", "}"),
    (r"\fbox{", "}"),
    ("**", "**"),
)
_DECORATION = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\displaystyle(?![a-z])|(?<!\\)\\[!,:; ](?=\s|$)|~"
    r"|\\(?:text)?color\s?\{[A-Za-z]{1,12}\}|\\(?:[lL]arge|LARGE|[hH]uge|normalsize|checkmark)(?![A-Za-z])"
    r"|\\underline(?=\{)|\\(?:begin|end)\{(?:aligned|gathered)\}"
)
_THIN = re.compile(r"(?<=[0-9])(?:\\[,!;: ]|\{,\}|\\ )(?=[0-9]{3}(?![0-9]))")
_PERCENT = re.compile(r"\s*(?:\\text\{)?\s*(?:percent|per cent)\}?\s*$", re.IGNORECASE)
_CURRENCIES = {r"\$": "USD", "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_MONEY = re.compile(r"(?P<minus>-?)\s?(?:US\s?(?=\\?\$))?(?P<currency>\\\$|\$(?=[0-9.])|[€£¥₹])\s*")
APPROXIMATELY = r"\approx"
_UNIT_BEHIND = re.compile(
    r"(?:\\[,;: ]|~|\s)*\\(?:text|mathrm|textrm|mbox)\s?\{\s*([A-Za-z./ ]{1,24})\}(\^\{?-?[0-9]\}?)?\s*$"
)
_VECTOR = r"\\(?:vec|mathbf|bm|boldsymbol|overline|overrightarrow|hat|bar)\s?\{([A-Za-z]{1,3})\}"
_NAME = re.compile(
    r"\s*(?:\\[A-Za-z]{2,12}|[A-Z]{1,4}|[A-Za-z](?:_\{?[A-Za-z0-9]{1,4}\}?|\^\{-1\})?'?(?:\([^()=]{1,16}\))?"
    r"|\\(?:text|mathrm)\{(?![^{}]*\bnot\b)[A-Za-z ]{2,40}\}"
    r"|m?\s?\\angle\s?[A-Z]{1,3}|(?:\\left)?\|\s?[A-Zz]{1,3}\s?(?:\\right)?\|"
    r"|(?:[A-Z]{2}|\\[a-z]{2,7})\^\{?2\}?|\[[A-Z]{3,6}\]|(?:\\mathbb\{E\}|E)\[[A-Z]\]"
    r"|\\(?:sin|cos|tan|cot|sec|csc|det|deg|dim|min|max)\s?(?:[A-Za-z]|\\[a-z]{2,7}|\([A-Za-z]{1,3}\))"
    rf"|\\(?:gcd|operatorname\{{lcm\}})\([^()=]{{1,24}}\)|\\\|(?:[a-z]|{_VECTOR})\\\||{_VECTOR}"
    r"|\\[dt]?frac\{(?!d)[A-Za-z]{1,3}\}\{[A-Za-z]{1,3}\})\s*"
)
"""The left side of an answer that needs no solving: letters, and what is measured or counted."""
_SPELT = re.compile(_VECTOR.replace("([A-Za-z]{1,3})", "(?P<name>[A-Za-z]{1,3})") + r"|(?<=.)\([a-z]\)")
_INTRODUCED = re.compile(
    r"\\text(?:bf)?\s?\{(?:the )?(?:final |correct |total |(?:min|max)imum |smallest |largest |least |greatest ){0,2}"
    r"(?:answer|result|value|solution|sum|total|number|area|volume|length|perimeter|probability|remainder|(?:min|max)imum)"
    r"\s*(?:is|is:|equals|:|=)\s*\}",
    re.IGNORECASE,
)
"""Words that lead to an answer within its box: `\\text{Answer: }5`."""
EQUALS = re.compile(r"(?<![<>!\\:])=")
LETTERS = re.compile(  # of names; the commands of calculations are none
    r"(?<![\\A-Za-z])[A-Za-z]|\\(?!(?:[dt]?frac|sqrt|cdot|times|pi|left|right|div)(?![A-Za-z]))[A-Za-z]+"
)
MARKUP = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")


def number(text: str) -> Fraction | None:
    r"""The value of a literal: integer, decimal, 1,000, a/b, \frac{a}{b}, 1 1/2, a·10^n, 10^n; None for others."""
    return _literal_value(bare(text))


def _literal_value(text: str) -> Fraction | None:
    for pattern in (_DECIMAL, _RATIO, _MIXED, _REPEATING):
        if match := pattern.fullmatch(text):
            value = _literal(pattern, [part for part in match.groups()[1:] if part is not None])
            return -value if match[1] == "-" and value is not None else value
    if match := _SCIENTIFIC.fullmatch(text):
        return Fraction(match[1]) * Fraction(10) ** int(match[2])
    if match := _POWER_OF_TEN.fullmatch(text):  # as sciences write it; other powers are calculations
        return Fraction(10) ** int(match[2]) * (-1 if match[1] == "-" else 1)
    return None


def _literal(pattern: re.Pattern[str], parts: list[str]) -> Fraction | None:
    if pattern is _DECIMAL:
        return Fraction(re.sub("[, ]", "", parts[0]))
    if pattern is _REPEATING:
        return repeating(parts[0])
    whole = int(parts[0]) if pattern is _MIXED else 0
    above, below = int(parts[-2]), int(parts[-1])
    if below == 0 or (pattern is _MIXED and not 0 < above < below):
        return None
    return whole + Fraction(above, below)


@lru_cache(maxsize=1024)
def bare(text: str) -> str:
    """An answer without decoration: dollar signs, LaTeX spacing, a final full stop, a leading `x =`, a rounded form."""
    text = undecorated(text)
    exact, about, rough = text.partition(APPROXIMATELY)
    return exact.strip() if about and exact.strip() and near(exact, without_unit(rough)[0]) else text


def undecorated(text: str) -> str:
    """An answer without decoration, with the rounded form behind it."""
    text = re.sub(r"(?<=,)\\!\s*", "", text.strip()[: MAX_LENGTH + 1])
    text = _DECORATION.sub("", text).replace("−", "-").replace("≈", rf"{APPROXIMATELY} ")
    text = _THIN.sub(",", text).strip().removesuffix(".").strip()
    for left, right in _WRAPPERS:
        if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
            inside = text[len(left) : -len(right)]
            if left not in inside.replace(r"\$", "") and balanced(inside):
                text = inside.strip().removesuffix(".").strip()
    text = _PERCENT.sub(r"\\%", text)
    text = text.replace(r"\text{\$}", r"\$")
    if text.startswith(r"\text") and (words := _INTRODUCED.match(text)) and words.end() < len(text):
        text = text[words.end() :].strip()
    if whole := MARKUP.fullmatch(text):
        text = whole[1].strip()
    if name_of(text):
        text = text.partition("=")[2].strip()
    if paid := _MONEY.match(text):
        text = _with_currency(paid, text[paid.end() :])
    if whole := MARKUP.fullmatch(text):
        text = whole[1].strip()
    return text


def _with_currency(sign: re.Match[str], amount: str) -> str:
    """An amount with its currency behind it, like any unit; without it if it is no plain number."""
    if _literal_value(amount) is not None:
        return rf"{sign['minus']}{amount}\text{{ {_CURRENCIES[sign['currency']]}}}"
    return sign["minus"] + amount if "$" in sign["currency"] else sign[0] + amount


def near(exact: str, rough: str) -> bool:
    """Whether `rough` can be the rounded or truncated form of `exact`, and is no second answer."""
    value, decimal = number(exact), number(rough)
    if value is None or decimal is None:
        return decimal is not None
    return value == decimal or rounds(value, decimal, last_place(rough) or last_place(exact))


def rounds(value: Fraction, decimal: Fraction, place: Fraction) -> bool:
    """Whether a decimal number is off by less than one in its last place, and by two per cent at most."""
    difference = abs(value - decimal)
    return difference * 50 <= abs(value) and difference < place


def without_unit(text: str) -> tuple[str, str]:
    """A text without the unit behind it, and the unit; empty without one."""
    match = _UNIT_BEHIND.search(text)
    return (text[: match.start()], match[1] + (match[2] or "")) if match else (text, "")


def last_place(text: str) -> Fraction:
    """The value of one more in the last digit of a decimal number; 0 for other forms."""
    match = _SCIENTIFIC.fullmatch(text.strip())
    mantissa, exponent = (match[1], int(match[2])) if match else (text.strip().strip("$"), 0)
    if not match and not _DECIMAL.fullmatch(mantissa):
        return Fraction(0)
    return Fraction(10) ** (exponent - len(mantissa.partition(".")[2]))


def name_of(text: str) -> str:
    """The `x` of `x = 3`; empty without one, or where the name is defined by itself."""
    name, equals, value = text.strip().lstrip("$").partition("=")
    if not equals or not _NAME.fullmatch(name) or EQUALS.search(value):
        return ""
    short = "".join(name.split())
    if re.search(rf"(?<![A-Za-z\\]){re.escape(short)}(?![A-Za-z])", value):
        return ""
    if short == "f(x)":
        return "y"  # y = 2x and f(x) = 2x say the same
    return _SPELT.sub(lambda match: match["name"] or "", short).lstrip("\\")


def decorated(text: str) -> str:
    """Like `bare`, with the `x =` in front."""
    name = name_of(text)
    return f"{name}={bare(text)}" if name else bare(text)


def balanced(text: str) -> bool:
    """Whether braces match; others would close the box in which an answer is passed to math-verify."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0
