r"""Numbers with units, such as `3.0 \times 10^8 m/s`, compared across units and with the precision of the reference.

The reference decides how close an answer must be: to half a unit of its last digit if it has a decimal point or a power
of ten; exactly if it is a plain whole number or a fraction. An answer that is rounded more coarsely is right if it is
the reference so rounded and keeps at least three digits. An explicit tolerance replaces these rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from prorl_mega.tasks.answers.units import ONE, Unit, rate, unit

MAX_LENGTH, MAX_EXPONENT = 160, 120
KEPT = 3  # digits that an answer has at least when it is rounded

_SUPERSCRIPT = re.compile(r"10([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−", "0123456789-+-")
_WRAPPED = re.compile(r"\s*(?:\$\$?|\\\(|\\\[|\*\*)\s*(.*?)\s*(?:\$\$?|\\\)|\\\]|\*\*)\s*", re.DOTALL)
_INDEX = r"(?:_\{?[A-Za-z0-9,]{1,8}\}?)?"
_BEFORE = re.compile(
    rf"\s*(?:(?:\\Delta|Δ)?\s*[A-Za-zΑ-ωµ]{_INDEX}|\\[A-Za-z]{{2,8}}{_INDEX}|[A-Za-z ]{{2,24}})?\s*"
    r"(?:=|\\approx|≈|\\simeq|≃)\s*|\s*[pP]H(?:\s+of)?\s+|\s*(?:\\approx|≈|~|\\sim|about|approximately|approx\.?|ca\.?)\s*"
)
_MONEY = re.compile(r"\s*(?P<sign>[-+−]?)\s?(?P<currency>(?:US\s?)?\\\$|[€£¥₹]|\\(?:euro|pounds)(?![a-z]))\s*")
_NUMBER = re.compile(
    r"\s*(?P<sign>[-+−])?\s?(?:"
    r"\\[dt]?frac\{(?P<above>[0-9]{1,30})\}\{(?P<below>[0-9]{1,30})\}|(?P<over>[0-9]{1,30})/(?P<under>[0-9]{1,30})(?![0-9.])"
    r"|(?P<ten>10\s?\^\s?\{?\s?(?P<alone>[-+−]?[0-9]{1,4})\s?\}?)"
    r"|(?P<whole>[0-9]{1,3}(?:,[0-9]{3}){1,10}|[0-9]{1,3}(?:(?:\\,|\{,\}| )[0-9]{3}){1,10}(?![0-9])|[0-9]{0,60})"
    r"(?:\.(?P<decimals>[0-9]{0,60}))?"
    r"(?:\s*(?:\\times|\\cdot|[×·⋅xX*])\s*10\s?\^\s?(?:\{\s?(?P<braced>[-+−]?\s?[0-9]{1,4})\s?\}|(?P<power>[-+−]?[0-9]{1,4}))"
    r"|[eE](?P<exponent>[-+−]?[0-9]{1,4})(?![0-9A-Za-z.]))?)"
)


@dataclass(kw_only=True, slots=True, frozen=True)
class Quantity:
    value: Fraction
    step: Fraction  # one unit of the last digit; 0 of a fraction
    digits: int  # that are significant; 0 of a fraction
    exact: bool  # a fraction or a plain whole number
    unit: Unit | None  # None: a bare number


@lru_cache(maxsize=2048)
def quantity(text: str) -> Quantity | None:
    """A number with or without a unit; None if the text is anything else or has more words."""
    if len(text) > MAX_LENGTH:
        return None
    text = text.strip().rstrip(".").strip()
    if match := _WRAPPED.fullmatch(text):
        text = match[1]
    text = _without_delimiters(text)
    text = _SUPERSCRIPT.sub(lambda found: f"10^{{{found[1].translate(_DIGITS)}}}", text)
    text = re.sub(r"(?:\\[,;:! ]|~)", " ", text)
    if match := _BEFORE.match(text):
        text = text[match.end() :]
    currency = ""
    if match := _MONEY.match(text):
        currency, text = match["currency"], match["sign"] + text[match.end() :]
    match = _NUMBER.match(text)
    if match is None or not any(match[name] for name in ("above", "over", "ten", "whole", "decimals")):
        return None
    rest = text[match.end() :]
    if re.match(r"\s*[0-9.]", rest):
        return None
    measured = _value(match)
    meaning = _meaning(currency, rest)
    if measured is None or (meaning is None and (currency or rest.strip())):
        return None
    value, step, digits = measured
    written = match["decimals"] is not None or match["braced"] or match["power"] or match["exponent"]
    return Quantity(
        value=-value if match["sign"] in ("-", "−") else value,
        step=step,
        digits=digits,
        exact=not written,
        unit=meaning,
    )


def _without_delimiters(text: str) -> str:
    """The text without the dollar signs around mathematics; a single one is money and gets a backslash."""
    signs = text.count("$") - text.count(r"\$")
    if signs == 1:
        return re.sub(r"(?<!\\)\$", r"\\$", text)
    return re.sub(r"(?<!\\)\$", " ", text) if signs and signs % 2 == 0 else text


def _meaning(currency: str, rest: str) -> Unit | None:
    """The unit of a number between a currency's sign and a text: `\\$5`, `\\$5 USD`, `\\$5 per hour`."""
    if not rest.strip():
        return unit(currency) if currency else None
    named = unit(rest)
    return named if not currency or named == unit(currency) else unit(currency + rest)


def _value(match: re.Match[str]) -> tuple[Fraction, Fraction, int] | None:
    """Absolute value, step of the last digit and number of digits of a matched number; None if it is out of bounds."""
    if match["above"] or match["over"]:
        below = int(match["below"] or match["under"])
        return (Fraction(int(match["above"] or match["over"]), below), Fraction(0), 0) if below else None
    if match["ten"]:
        power = int(match["alone"].replace("−", "-"))
        return (Fraction(10) ** power, Fraction(0), 0) if abs(power) <= MAX_EXPONENT else None
    whole = re.sub(r"\\,|\{,\}|[ ,]", "", match["whole"] or "")
    decimals = match["decimals"] or ""
    shift = (match["braced"] or match["power"] or match["exponent"] or "").replace("−", "-").replace(" ", "")
    if abs(int(shift or "0")) > MAX_EXPONENT:
        return None
    scale = Fraction(10) ** int(shift or "0")
    value = Fraction(f"{whole or '0'}.{decimals or '0'}") * scale
    digits = len((whole + decimals).lstrip("0"))
    return value, Fraction(1, 10 ** len(decimals)) * scale, digits


def matches(gold: Quantity, answer: Quantity, tolerance: float) -> bool:
    """Whether an answer is the gold quantity. `tolerance` is relative; 0: the precision of the gold decides."""
    value, step = answer.value, answer.step
    digits, foreign = answer.digits, False
    if answer.unit is not None and gold.unit is not None and answer.unit != gold.unit:
        ratio = rate(answer.unit, gold.unit)
        if ratio is None:
            return False
        value = value * ratio + (answer.unit.offset - gold.unit.offset) / gold.unit.factor
        step, foreign = step * ratio, True
        if answer.unit.offset != gold.unit.offset and step:  # 27 °C has two digits, and the 300 K that it is have three
            digits = max(digits, len(str(abs(round(value / step)))))
    elif gold.unit is None and answer.unit is not None and answer.unit in _SHARES:
        value, step = value * answer.unit.factor, step * answer.unit.factor
    elif gold.unit is not None and gold.unit in _SHARES and answer.unit is None and value != gold.value:
        value, step = value / gold.unit.factor, step / gold.unit.factor
    off = abs(value - gold.value)
    if tolerance > 0:
        return off <= Fraction(tolerance) * abs(gold.value)
    if off <= (0 if gold.exact else gold.step / 2):
        return True
    rounded = digits >= KEPT and (foreign or not gold.exact)
    return off <= step / 2 if rounded else off <= abs(gold.value) * _EXACT


_SHARES = (unit("%"), unit("ppm"), unit("ppb"))
"""Units of shares: a reference in per cent may be answered with the sign, without it, or as a share of one."""

_EXACT = Fraction(1, 10**9)
"""Relative error that an exact reference allows, for factors such as pi/180 that are no short decimals."""


def with_unit(text: str, name: str) -> str:
    """A reference with the unit from a field of its own."""
    found = quantity(text)
    return f"{text.strip()} {name}" if found is not None and found.unit in (None, ONE) else text
