r"""Comparison of short answers in words, symbols and chemical formulas.

Articles, punctuation and the spelling of Greek letters and of sub- and superscripts may differ, and so may the case of
ordinary words. Where case or a mark carries meaning it may not: Co and CO, the genotypes Aa and aa, N- and n-, 5' and
5, 7.4 and 7 4, a charge, the star of an antibonding orbital. Words are not stemmed, and none may be left out or added:
"oxygen" is neither "oxygen or nitrogen" nor "no oxygen".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from prorl_mega.tasks.answers.fonts import unwrapped
from prorl_mega.tasks.answers.tokens import GREEK_LETTERS

MAX_LENGTH = 400

_CAPITALS = {letter.upper(): f"capital{name}" for letter, name in GREEK_LETTERS.items()}
_GREEK_NAMES = {**GREEK_LETTERS, **_CAPITALS, "ς": "sigma", "ϵ": "epsilon", "ϕ": "phi", "µ": "mu"}
_COMMANDS = {
    **{rf"\{name}": name for name in GREEK_LETTERS.values()},
    **{rf"\{name.capitalize()}": f"capital{name}" for name in GREEK_LETTERS.values()},
    r"\varepsilon": "epsilon",
    r"\vartheta": "theta",
    r"\varphi": "phi",
}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SMALL = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-0123456789+-")
_ARTICLES = re.compile(
    r"(?<![\w-])(?:[Aa]n|[Tt]he|THE|AN|a(?!\s+(?!eu|one|once)[aeio])|^\W*A(?!\s+[aeio]))\s+(?=[\w\"'“‘*])"
)
_HYBRID = re.compile(r"\bsp\s?\^\s?([23])", re.IGNORECASE)
_MARKS = re.compile(r"[\"'`“”‘’;!?()\[\]{}*$_]|(?<![0-9])[.,:]|[.,:](?![0-9])")


def _primed(match: re.Match[str]) -> str:
    return f"{match[1].strip()}{' prime' * len(match[2])} "


_PLAIN = re.compile(r"(?!.*\b[A-Za-z]\b)[A-Za-z0-9 ]*\.?")  # words, for which nothing is to be done
_LETTERED = re.compile(
    r"\b[A-Z](?=[- ](?:rays?|values?|tests?|types?|ax[ei]s|orbitals?|blocks?|subshells?|shells?|waves?)\b)",
    re.IGNORECASE,
)
"""Single letters whose case says nothing: X-rays, p-values, d orbitals."""
_SPELLINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*]+)(?<=\S)\1(?![\w*])"), r"\2"),  # emphasis
    (re.compile(r"\^\s?\{?\s?(?:\*|\\ast)\s?\}?|(?<=[^\W\d_])\*(?![\w*])"), " star "),
    (re.compile(r"\^\s?\{?\s?([0-9]*[-+])(?![0-9])(?:\s?\})?"), r"\1"),  # charges
    (re.compile(r"(?<=\b[A-Za-z])_\{?([A-Za-z0-9]{1,6})\}?|_\{?([0-9]{1,3})\}?"), r"\1\2"),  # subscripts
    (re.compile(r"\s?\^\s?\{?\s?\\prime(?:\s?\})?|[′’´]"), "'"),
    (re.compile("″"), "''"),
    (re.compile(r"(?<![\w'])([0-9]{1,2}\s?(?='+(?!s\b))|[A-Za-z](?='+(?!\w)))('{1,2})"), _primed),
    (re.compile(r"(?<=prime) \s*[-‐‑–—]\s*(?=[0-9]+ prime)|->|→|⟶|\\(?:to|(?:long)?rightarrow)(?![a-z])"), " to "),
    (re.compile(r"(?<![\w.])\.(?=[0-9])"), "0."),
    (re.compile(r"(?<=\w)'([A-Za-z])"), lambda match: match[1].lower()),
    (re.compile(r"\s*=\s*"), "="),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<![0-9,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])"), lambda match: match[0].replace(",", "")),
    (re.compile(r"(?<=[0-9])\s*([,:])\s*(?=[0-9])"), r"\1"),
    (_LETTERED, lambda match: match[0].lower()),
    (re.compile(r"(?<=[\w)\]])[-‐‑–](?=[\w\\])|(?<=prime )[-‐‑–](?=\w)"), " "),
)  # fmt: skip
_NO_LETTER = re.compile(r"[^A-Za-z]+")
_GENOTYPE = re.compile(r"(?:([A-HJ-Z])\1+)+", re.IGNORECASE)  # II is a number
_ACRONYM = re.compile(r"p[HK]|pOH|[a-z]{1,2}[A-Z]{2,}s?|[A-Z]{2,}(?:s|a?ses?)")
_SMALL_WORDS = frozenset(("am", "as", "at", "be", "he", "in"))  # that are symbols when they stand alone

_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc
Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og D T
"""
_ELEMENTS = frozenset(_SYMBOLS.split())
_SUPERSCRIPTED = re.compile(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]*[⁺⁻]|[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_SUBSCRIPT = re.compile(r"_\{?([0-9]{1,3})\}?")
_CHARGE = re.compile(r"\^\{?\s?([0-9]{0,2})\s?([+-])\s?([0-9]{0,2})\}?$")
_MASS = re.compile(r"^\^\{?([0-9]{1,3})\}?(?:_\{?[0-9]{1,3}\}?)?")
_STATE = re.compile(r"\((?:aq|s|l|g)\)$")
_PLAIN_CHARGE = re.compile(r"(?<=[A-Za-z0-9)\]])([0-9]?)([+-])$")
_PARTS = re.compile(r"[A-Z][a-z]?[0-9]{0,3}|[()\[\]][0-9]{0,3}|[·.][0-9]{0,2}")
_ARROW = re.compile(r"\\(?:long)?rightarrow|\\to(?![a-z])|\\rightleftharpoons|->|→|⟶|⇌|=")


@lru_cache(maxsize=2048)
def phrase(text: str) -> str:
    """The text in normal form; may be empty.

    One blank stands between words, articles and punctuation are left out, and words without a case of their own are in
    lower case.
    """
    text = unwrapped(unicodedata.normalize("NFC", text[:MAX_LENGTH]).translate(_SMALL)).replace("$", "")
    text = text.replace("−", "-")
    if not _PLAIN.fullmatch(text):
        for pattern, spelling in _SPELLINGS:
            text = pattern.sub(spelling, text)
    text = _COMMAND.sub(lambda match: f" {_COMMANDS.get(match[0], match[0][1:])} ", text)
    text = "".join(f" {_GREEK_NAMES[c]} " if c in _GREEK_NAMES else c for c in text)
    text = _MARKS.sub(" ", _ARTICLES.sub(" ", text.replace("\\", " ").replace("~", " ")))
    words = _HYBRID.sub(r"sp\1", text).split()
    return " ".join(word if _has_case(word, len(words) == 1) else word.casefold() for word in words)


def _has_case(word: str, alone: bool) -> bool:
    """Whether another case would be another word: symbols, genotypes, single letters, capitals within a word."""
    letters = _NO_LETTER.sub("", word) if word.isascii() else ""
    if len(letters) < 2:
        return bool(letters) and not re.fullmatch("[A-Za-z][0-9]+", word)
    if letters in _ELEMENTS and letters[1:].islower():
        return letters != "No" and (alone or letters.lower() not in _SMALL_WORDS)
    mixed = letters[1:] != letters[1:].lower() and letters != letters.upper()
    return _GENOTYPE.fullmatch(letters) is not None or (mixed and _ACRONYM.fullmatch(letters) is None)


def same_phrase(gold: str, answer: str) -> bool:
    """Whether two short texts mean the same."""
    wanted = phrase(gold)
    if len(answer) > MAX_LENGTH or not wanted:
        return False
    given = phrase(answer)
    together = [each.replace(" ", "") for each in (wanted, given)]  # sea water, seawater; but 1 2 is not 12
    return given == wanted or (together[0] == together[1] and together[0].isalpha())


@lru_cache(maxsize=2048)
def formula(text: str) -> str | None:
    """A chemical formula or reaction in normal form; None for other texts. Case matters: CO is not Co.

    `Fe3+` is an ion with three charges, `NO3-` one with three oxygens, `SO42-` has four of them and two charges.
    """
    text = unicodedata.normalize("NFC", text.strip()[:MAX_LENGTH])
    text = unwrapped(text)
    text = (
        re.sub(r"\$|\\[,;:! ]|~|\*\*|\\(?:left|right)(?![a-z])", " ", text)
        .replace("−", "-")
        .replace(r"\cdot", "·")
        .strip(" .")
    )
    text = re.sub(r"\s*·\s*", "·", text)
    sides = [side.strip() for side in _ARROW.split(text)]
    if len(sides) > 2:
        return None
    written = [[_species(term) for term in re.split(r"\s\+\s", side)] for side in sides]
    if any(term is None for side in written for term in side):
        return None
    if len(sides) == 1 and len(written[0]) == 1:
        return written[0][0]
    return " -> ".join(" + ".join(sorted(filter(None, side))) for side in written)


def _species(text: str) -> str | None:
    """One formula in normal form, with its coefficient, mass number and charge."""
    text = _STATE.sub("", re.sub(r"\s+(?=[0-9^(]|$)", "", text.strip()))
    text = _SUPERSCRIPTED.sub(lambda match: f"^{{{match[1].translate(_SMALL)}}}", text)
    text = text.translate(_SMALL)
    mass = _MASS.match(text)
    text = text[mass.end() :] if mass else text
    if isotope := re.fullmatch(r"([A-Z][a-z]?)-([0-9]{1,3})", text):
        return f"^{isotope[2]}{isotope[1]}" if isotope[1] in _ELEMENTS else None
    text = _SUBSCRIPT.sub(r"\1", text)
    charge = ""
    if match := _CHARGE.search(text):
        text, charge = text[: match.start()], f"{match[1] or match[3] or '1'}{match[2]}"
    elif match := _PLAIN_CHARGE.search(text):
        text, charge = _plain_charge(text, match)
    count = re.match(r"[0-9]{0,3}\s?", text)
    body = text[count.end() :] if count else text
    parts = _PARTS.findall(body)
    symbols = [part.rstrip("0123456789") for part in parts if part[0].isalpha()]
    if "".join(parts) != body or not symbols or any(symbol not in _ELEMENTS for symbol in symbols):
        return None
    if not (charge or mass or len(symbols) > 1 or re.search("[0-9]", text)):
        return None  # one symbol can be a word: I, In, No
    number = count[0].strip() if count else ""
    prefix = f"^{mass[1]}" if mass else ""
    return (
        f"{'' if number == '1' else number}{prefix}{''.join(parts).replace('.', '·')}{f'^{charge}' if charge else ''}"
    )


def _plain_charge(text: str, match: re.Match[str]) -> tuple[str, str]:
    """Formula and charge if only convention tells a subscript from a charge."""
    body = text[: match.start()]
    single = re.fullmatch(r"[A-Z][a-z]?", body) is not None
    if match[1] and (single or body[-1].isdigit() or body[-1] in ")]"):
        return body, f"{match[1]}{match[2]}"
    return body + match[1], f"1{match[2]}"
