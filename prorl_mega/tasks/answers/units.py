"""Units of measurement in SI base units: `kJ mol^{-1}` in metres, kilograms, seconds, moles and so on.

Units of equal dimensions may measure different things: 3 rev/s are not 3 rad/s, 50 Bq no 50 Hz, 2 Gy no 2 Sv. Such
units have a *kind*, and two kinds are converted only where a number is known for it. A unit without a kind says less
and goes with all: 3 s^-1 may be 3 rad/s, and N·m is J, torque or work. A kind that is never left out is as good as a
dimension: lumen and candela, bits, decibels, money.

A table of our own and not sympy.physics.units, which knows no spelling of a unit, converts with floating point and
takes milliseconds for what a look-up and a few products do here. Factors are exact (SI brochure, 9th edition, 2019,
with table 8; CODATA 2022 for the atomic mass unit; international pound, inch and calorie).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from prorl_mega.tasks.answers.fonts import unwrapped

MAX_LENGTH, MAX_POWER = 80, 9

Dimensions = tuple[int, ...]  # powers of m, kg, s, A, K, mol, cd
_NONE: Dimensions = (0, 0, 0, 0, 0, 0, 0)
Kinds = tuple[tuple[str, int], ...]  # powers of kinds, in the order of their names
_NEVER_LEFT_OUT = frozenset(
    ("steradian", "bit", "equivalent", "osmole", "decibel", "dollar", "euro", "sterling", "yen", "rupee", "yuan")
)
_KNOWN_RATES = {("revolution", "radian"): Fraction(2 * math.pi), ("revolution", "cycle"): Fraction(1),
                ("beat", "cycle"): Fraction(1)}  # fmt: skip
"""One of the first in units of the second. A cycle is no 2 pi rad: a frequency is no angular frequency."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Unit:
    """A unit: `value * factor + offset` is in SI base units."""

    factor: Fraction
    dimensions: Dimensions
    offset: Fraction = Fraction(0)  # not 0 for temperature scales only
    kinds: Kinds = ()

    def times(self, other: Unit, power: int) -> Unit:
        dimensions = tuple(a + power * b for a, b in zip(self.dimensions, other.dimensions, strict=True))
        kinds = self.kinds
        if other.kinds:
            powers = dict(kinds)
            for kind, each in other.kinds:
                powers[kind] = powers.get(kind, 0) + power * each
            kinds = tuple(sorted((kind, each) for kind, each in powers.items() if each))
        return Unit(factor=self.factor * other.factor**power, dimensions=dimensions, kinds=kinds)


ONE = Unit(factor=Fraction(1), dimensions=_NONE)

_PREFIXES = {"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "d": -1, "c": -2,
             "m": -3, "u": -6, "μ": -6, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24}  # fmt: skip
_LONG = {"tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deci": -1, "centi": -2, "milli": -3, "micro": -6,
         "nano": -9, "pico": -12, "femto": -15}  # fmt: skip

# Symbols and names; factor; powers of m, kg, s, A, K, mol, cd; kind. The first group takes prefixes.
_PREFIXED = """
m metre meter|1|1        g gram gramme|1/1000|0 1       s sec second|1|0 0 1        A amp ampere|1|0 0 0 1
K kelvin|1|0 0 0 0 1     mol mole|1|0 0 0 0 0 1         cd candela|1|0 0 0 0 0 0 1  Hz hertz|1|0 0 -1|cycle
N newton|1|1 1 -2        Pa pascal|1|-1 1 -2            J joule|1|2 1 -2            W watt|1|2 1 -3|watt
C coulomb|1|0 0 1 1      V volt|1|2 1 -3 -1             F farad|1|-2 -1 4 2         Ω ohm|1|2 1 -3 -2
S siemens|1|-2 -1 3 2    Wb weber|1|2 1 -2 -1           T tesla|1|0 1 -2 -1         H henry|1|2 1 -2 -2
lm lumen|1|0 0 0 0 0 0 1|steradian                      lx lux|1|-2 0 0 0 0 0 1|steradian
Bq becquerel|1|0 0 -1|decay                             Gy gray|1|2 0 -2|gray
Sv sievert|1|2 0 -2|sievert                             kat katal|1|0 0 -1 0 0 1       L l liter litre|1/1000|3
bar|100000|-1 1 -2       eV electronvolt|1.602176634e-19|2 1 -2                  cal calorie|4.184|2 1 -2
rad radian|1|0|radian    M molar|1000|-3 0 0 0 0 1       molal|1|0 -1 0 0 0 1        Da dalton|1.66053906892e-27|0 1
b barn|1e-28|2           Ci curie|3.7e10|0 0 -1|decay                            Torr torr|101325/760|-1 1 -2
dyn dyne|1e-5|1 1 -2     erg|1e-7|2 1 -2                pc parsec|3.0856775814913673e16|1
t tonne|1000|0 1         bit|1|0|bit                    bps|1|0 0 -1|bit            G gauss|1e-4|0 1 -2 -1
VA|1|2 1 -3|voltampere   var|1|2 1 -3|var               Eq eq equivalent|1|0 0 0 0 0 1|equivalent
Osm osm osmole|1|0 0 0 0 0 1|osmole                     rem|1/100|2 0 -2|sievert
"""
_ALONE = """
min minute|60|0 0 1      h hr hour|3600|0 0 1           d day|86400|0 0 1           week|604800|0 0 1
yr year|31557600|0 0 1 Å angstrom Angstrom|1e-10|1    atm atmosphere|101325|-1 1 -2
mmHg|133.322387415|-1 1 -2                              psi|6894.757293168|-1 1 -2  u amu|1.66053906892e-27|0 1
in inch inches|0.0254|1  ft foot feet|0.3048|1          yd yard|0.9144|1            mi mile|1609.344|1
lb pound lbs|0.45359237|0 1                             oz ounce|0.028349523125|0 1 gal gallon|0.003785411784|3
mph|0.44704|1 0 -1       kph|5/18|1 0 -1                knot|463/900|1 0 -1         hp|745.6998715822702|2 1 -3
rpm|1/60|0 0 -1|revolution                              ly lightyear|9460730472580800|1
au AU|149597870700|1     cc|1e-6|3                      lbf|4.4482216152605|1 1 -2     rev revolution|1|0|revolution
% percent|1/100|0|share  ppm|1e-6|0|share               ppb|1e-9|0|share            sr steradian|1|0|steradian
Wh|3600|2 1 -2          kWh|3600000|2 1 -2            poise|0.1|-1 1 -1              ha hectare|10000|2
D debye|3.33564095198152e-30|1 0 1 1                    Nm|1|2 1 -2              Ns|1|1 1 -1
B byte|8|0|bit           kB|8000|0|bit                  MB|8e6|0|bit                GB|8e9|0|bit
Ah|3600|0 0 1 1          mAh|3.6|0 0 1 1                TB|8e12|0|bit               bpm|1/60|0 0 -1|beat
Cal|4184|2 1 -2          dB decibel|1|0|decibel         dpt diopter dioptre|1|-1    cycle|1|0|cycle
dollar USD buck|1|0|dollar                              cent|1/100|0|dollar         euro EUR|1|0|euro
GBP|1|0|sterling         yen JPY|1|0|yen                rupee INR|1|0|rupee         yuan CNY RMB|1|0|yuan
"""
_KELVIN: Dimensions = (0, 0, 0, 0, 1, 0, 0)
_TEMPERATURES = {
    "°C": Unit(factor=Fraction(1), dimensions=_KELVIN, offset=Fraction("273.15")),
    "°F": Unit(factor=Fraction(5, 9), dimensions=_KELVIN, offset=Fraction("459.67") * Fraction(5, 9)),
}
_DEGREE = Unit(factor=Fraction(math.pi) / 180, dimensions=_NONE, kinds=(("radian", 1),))
_PLURALS = re.compile(r"(?<=[a-z]{2})s$")


def _table(lines: str) -> dict[str, Unit]:
    units = {}
    for names, factor, powers, kind in re.findall(r"(\S[^|\n]*)\|([^|\s]+)\|((?:-?\d ?)+)(?:\|([a-z]+))?", lines):
        dimensions = tuple(map(int, powers.split()))
        unit = Unit(
            factor=Fraction(factor),
            dimensions=dimensions + _NONE[len(dimensions) :],
            kinds=((kind, 1),) if kind else (),
        )
        units.update(dict.fromkeys(names.split(), unit))
    return units


_PREFIXABLE, _WHOLE = _table(_PREFIXED), _table(_ALONE)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SIGNS = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "¢": "cent",
          r"\euro": "EUR", r"\pounds": "GBP", r"\cent": "cent"}  # fmt: skip
_LATEX: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?:US\s?)?\\\$"), " USD "),
    (re.compile(r"[€£¥₹¢]|\\(?:euro|pounds|cent)(?![a-z])"), lambda match: f" {_SIGNS[match[0]]} "),
    (re.compile(r"\\(?:,|;|:|!|quad|qquad| )|~|\$"), " "),
    (re.compile(r"\\[dt]?frac\s?\{((?:[^{}]|\{[^{}]*\})*)\}\s?\{((?:[^{}]|\{[^{}]*\})*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-z])|[·⋅×*•∙]"), "."),
    (re.compile(r"\\(?:mu|micro)(?![a-z])\s?"), "μ"),
    (re.compile(r"\\(?:Omega|ohm)(?![a-z])|Ω"), "Ω"),
    (re.compile(r"\\(?:AA|mathring\{A\}|r\{A\})(?![a-z])|Å"), "Å"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\^?\{?\s?\\(?:circ|degree)(?![a-z])\s?\}?|º|˚|\\textdegree"), "°"),
    (re.compile(r"[Cc]elsius"), "°C"),
    (re.compile(r"°\s?K\b"), "K"),
    (re.compile(r"μ\s+(?=[A-Za-z])"), "μ"),
    (re.compile(r"\b([kMGmμ])\s+Ω"), r"\1Ω"),
    (re.compile(r"\b(kilo|mega|giga|milli|micro|nano)\s+(?=[a-z]{3})"), r"\1"),
    (re.compile(r"\b(?:square|sq\.?)\s+([A-Za-z]+)"), r"\1^2"),
    (re.compile(r"\bcubic\s+([A-Za-z]+)"), r"\1^3"),
    (re.compile(r"\s+(?:squared|cubed)\b"), lambda match: "^2" if "q" in match[0] else "^3"),
    (re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+"), lambda match: "^" + match[0].translate(_SUPERSCRIPTS)),
    (re.compile(r"\*\*"), "^"),
)  # fmt: skip
_SCALE = re.compile(r"°\s?\{?([CF])\}?(?![a-z])|\bdeg(?:rees?)?\s?(?:°C|[Cc](?:elsius)?\b|([Ff])(?:ahrenheit)?\b)")
_PIECE = re.compile(
    r"\s*(?:(?P<slash>/|\bper\b)|(?P<open>\()|(?P<close>\))|(?P<dot>\.)"
    r"|(?P<name>°[CF]?|%|[A-Za-zμµΩÅ]+)\s?(?:\^\s?(?:\{\s?(?P<braced>[-+−]?\s?[0-9])\s?\}|\(\s?(?P<bracketed>[-+−]?[0-9])\s?\)"
    r"|(?P<power>[-+−]?[0-9]))"
    r"|(?P<glued>[-−]?[0-9])(?![0-9.]))?|(?P<one>1(?=\s?/)))"
)


@lru_cache(maxsize=4096)
def unit(text: str) -> Unit | None:
    """The unit that a text spells in any known way; None if it is no unit."""
    if len(text) > MAX_LENGTH:
        return None
    plain = plain_spelling(text)
    return _TEMPERATURES.get(plain) or (_product(plain) if plain else ONE)


def rate(source: Unit, target: Unit) -> Fraction | None:
    """How many of `target` one of `source` is; None if they do not measure the same. Offsets are left out."""
    if source.dimensions != target.dimensions:
        return None
    ratio = source.factor / target.factor
    if source.kinds == target.kinds:
        return ratio
    given, wanted = dict(source.kinds), dict(target.kinds)
    differing = {kind for kind in given | wanted if given.get(kind) != wanted.get(kind)}
    if differing & _NEVER_LEFT_OUT:
        return None
    if differing.isdisjoint(given) or differing.isdisjoint(wanted):
        return ratio
    for (one, other), count in _KNOWN_RATES.items():
        if differing == {one, other}:
            power = given.get(one, 0) - wanted.get(one, 0)
            balanced = power == wanted.get(other, 0) - given.get(other, 0)
            return ratio * count**power if balanced else None
    return None


def converted(value: Fraction, source: Unit, target: Unit) -> Fraction | None:
    """The value in another unit, a temperature as a point on its scale; None if the units do not measure the same."""
    ratio = rate(source, target)
    return None if ratio is None else value * ratio + (source.offset - target.offset) / target.factor


def plain_spelling(text: str) -> str:
    """The unit without LaTeX and Unicode superscripts: `kJ mol^{-1}`."""
    text = re.sub(r"\s+(?=\^)", "", unwrapped(text, " "))
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    text = _SCALE.sub(lambda match: "°F" if match[1] == "F" or match[2] else "°C", text)
    return text.replace("^^", "^").strip().rstrip(".").strip()


def _product(text: str) -> Unit | None:
    """The product of factors joined by blanks, dots or slashes; a slash divides by the factor or bracket after it."""
    value, place = ONE, 0
    divide, inside = False, False  # the next factor; all factors of an open bracket
    while place < len(text):
        match = _PIECE.match(text, place)
        if match is None or match.end() == place:
            return None
        place = match.end()
        if match["slash"]:
            if divide:
                return None
            divide = True
        elif match["open"] or match["close"]:
            if inside == bool(match["open"]):
                return None
            inside = bool(match["open"])
            divide = divide and inside
        elif match["name"]:
            each = _single(match["name"])
            power = _power(match)
            if each is None or abs(power) > MAX_POWER:
                return None
            value = value.times(each, -power if divide else power)
            divide = divide and inside
    return None if inside or divide else value


def _power(match: re.Match[str]) -> int:
    written = match["braced"] or match["bracketed"] or match["power"] or match["glued"] or "1"
    return int(written.replace("−", "-").replace(" ", ""))


@lru_cache(maxsize=1024)
def _single(name: str) -> Unit | None:
    if name == "°":
        return _DEGREE
    if name in ("°C", "°F"):  # in a product, a difference of temperatures
        return ONE.times(_TEMPERATURES[name], 1)
    for known in (_WHOLE, _PREFIXABLE):
        if name in known:
            return known[name]
    for length in (2, 1):
        prefix, rest = name[:length], name[length:]
        if prefix in _PREFIXES and rest in _PREFIXABLE and len(rest) <= 3:
            return _scaled(_PREFIXABLE[rest], _PREFIXES[prefix])
    word = name.lower()
    if word.startswith("degree") or word == "deg":
        return _DEGREE
    for each in (word, _PLURALS.sub("", word)):
        if len(each) > 2 and each in (known := _PREFIXABLE | _WHOLE):
            return known[each]
        for prefix, power in _LONG.items():
            if each.startswith(prefix) and each[len(prefix) :] in _PREFIXABLE and len(each) > len(prefix) + 2:
                return _scaled(_PREFIXABLE[each[len(prefix) :]], power)
    return None


def _scaled(base: Unit, power: int) -> Unit:
    return Unit(factor=base.factor * Fraction(10) ** power, dimensions=base.dimensions, kinds=base.kinds)
