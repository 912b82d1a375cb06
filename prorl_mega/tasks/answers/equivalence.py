r"""Whether a mathematical answer equals the reference.

Numbers are compared exactly, as fractions, and formulas as trees, by structure and value. If our own reader does not
understand the reference, math-verify judges sums, integrals, products and limits; rules in front of it refuse what it
accepts wrongly, such as the chain `1 = 2 = 3 = 4` or a sum that was copied instead of calculated. References with
commands that math-verify skips are compared as text. Only its LaTeX parser is used: the other one evaluates Python.

A reference that is a decimal number with an exponent, `1.5e-3`, is that number, and answers to it may be written so.
Without a point, as in `2e-5`, and in answers to other references, e is Euler's number.

math-verify can hang on hostile input: call `equivalent` in worker processes only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

from prorl_mega.tasks.answers import approximation, comparison, symbolic, units, values
from prorl_mega.tasks.answers.calculator import UndefinedError, UnknownError
from prorl_mega.tasks.answers.formula import Tree, read
from prorl_mega.tasks.answers.literal import MARKUP, MAX_LENGTH, balanced, bare, decorated, name_of, number
from prorl_mega.tasks.answers.tokens import FUNCTIONS, UnreadableError

MUTATIONS = 4  # digits of a reference that are changed to see whether they count

_WORDS = re.compile(r"[A-Za-z][A-Za-z' .,-]*")
_OPTION = re.compile(r"\(?\s?([A-J])\s?\)")
_LABELLED = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?\([A-E]\)\s?\}|\([A-E]\))[\s\\:~]*(?=[^\s\\:~])")
_COMMANDS = re.compile(r"\\(?:begin|end)\{[a-z*]+\}|\\[A-Za-z]+|_\{[^{}]*\}")
_LONG_WORD = re.compile(r"(?<![A-Za-z])(?:[A-Z]?[a-z]{4,}|for|all|the|not|are|any|but|has)(?![A-Za-z])")
_SENTENCE = re.compile(r"(?<![A-Za-z])[A-Za-z]{2,}[.,]?\s+[A-Za-z]{2,}(?![A-Za-z])")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"  # in which letters of a product stand
_DEFINED = re.compile(r"[A-Za-z]\([^()=]*=[^()]*\)\s*=")
_SYMBOL = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?")
_SHORT_WORDS = frozenset(("no", "on", "up", "go", "in", "is", "it", "so", "or", "at", "to"))
_UNIT = re.compile(
    r"(?:(.*\\pi)\s+(rad(?:ians?)?)"
    r"|(.*[0-9})])\s*(?:\\[,;: ]\s*)*([A-Za-z][A-Za-z./ ]*(?:\^\{?-?[0-9]\}?)?"
    r"|\^\{?\\circ\}?\s?(?:C|F|\\text\{[CF]\}|\\mathrm\{[CF]\})?)"
    r"|(.*[0-9})])\s*(?:\\[,;: ]\s*)*(\\[dt]?frac\s?\{\s?\\(?:text|mathrm)\s?\{.{1,60}\})"
    r"|(.*\S)\s*(\\(?:text|textrm|mathrm|mbox|operatorname)\s?\{[^{}]*\}(?:\s?\^\{?-?[0-9]\}?)?))",
    re.DOTALL,
)
_EXPONENT = re.compile(r"([+-]?[0-9]*\.[0-9]+)[eE]([+-]?[0-9]{1,3})")
_NOTHING: Tree = ("set", [])
_DEGREES = re.compile("°|deg(?:rees?)?")
_RADIANS = re.compile("rad(?:ian)?s?")
_FRACTION = re.compile(r"([0-9]+)(?:/|to)([0-9]+)|\\[dt]?frac(?:\{([0-9]+)\}\{([0-9]+)\}|([0-9])([0-9]))")
_EMPTY = re.compile(r"\\emptyset|\\varnothing|∅|\\\{\s*\\\}|(?:the )?empty set|no solutions?", re.IGNORECASE)
_COUNTED = frozenset(
    ("apple", "ball", "book", "bushel", "cent", "coin", "cubic unit", "day", "degree", "dollar", "edge", "face", "game",
     "integer", "marble", "mark", "minute", "month", "number", "page", "part", "people",
     "person", "piece", "point", "room", "side", "solution", "square", "square unit", "step", "student", "time", "tree",
     "triangle", "unit", "vertice", "way", "week", "window", "word", "year", "buck", "euro", "car", "child", "children",
     "men", "women", "boy", "girl", "player", "team", "ticket", "candie", "cookie", "egg", "digit", "root", "value",
     "unit^2", "unit^3", "combination", "arrangement", "possibilitie", "choice", "term", "pair", "subset"))  # fmt: skip


def equivalent(reference: str, answer: str) -> bool:
    """Whether `answer` means the same as `reference`; False, never an exception, if it cannot be understood."""
    if len(answer) > MAX_LENGTH or not answer.strip():
        return False
    if (number_alone := written_out(reference)) != reference:
        reference, answer = number_alone, written_out(answer)
    gold = meaning(reference)
    candidate = bare(answer)
    if ("approx" in answer or "≈" in answer) and answer != reference and not approximation.holds(answer):
        return False
    names = name_of(reference), name_of(answer)
    if all(names) and names[0] != names[1]:
        return False
    if gold.text == candidate:
        return True
    if not balanced(candidate):
        return False
    if gold.words is not None and (gold.tree != _NOTHING or _words(candidate) == gold.words):
        return _words(candidate) == gold.words
    if gold.number is not None or gold.tree is not None:
        return _judged(gold, answer, candidate)
    if not symbolic.can_judge(gold.text):
        return _plainly(gold.text) in (_plainly(candidate), _ratio(candidate))
    return symbolic.equal(gold.text, candidate)


def all_equivalent(reference: str, answers: list[str]) -> bool:
    """Whether each of the answers is the reference, or all of them together are the list that the reference is."""
    if all(equivalent(reference, answer) for answer in answers):
        return bool(answers)
    return len(answers) > 1 and equivalent(reference, ", ".join(answers))


def prepare() -> None:
    """Import math-verify and its parser (half a second)."""
    symbolic.equal("x+1", "1+x")


def complaint(reference: str) -> str | None:
    """The fault of a reference that no answer could match; None for a good one."""
    reference = written_out(reference)
    if not bare(reference).strip("$ "):
        return "the answer is empty"
    if len(reference) > MAX_LENGTH:
        return f"the answer is longer than {MAX_LENGTH} characters"
    if not balanced(bare(reference)):
        return "the answer has braces that do not match"
    if number(reference) is not None:
        return None
    gold = meaning(reference)
    if gold.number is not None or gold.words is not None:
        return None
    return _unreadable(reference, gold) or _indifferent(gold)


def written_out(text: str) -> str:
    """A decimal number with an exponent as mathematics writes it; any other text as it is."""
    match = _EXPONENT.fullmatch(bare(text))
    return rf"{match[1]} \times 10^{{{int(match[2])}}}" if match else text


def _unreadable(reference: str, gold: Meaning) -> str | None:
    """Why a formula would be judged by a guess: parts of it would be multiplied out, or not be read at all."""
    core = (_split_unit(gold.text) or (gold.text, ""))[0]
    plain = _COMMANDS.sub(" ", MARKUP.sub(r" \1 ", core))
    words = [word for word in _LONG_WORD.findall(plain) if word not in FUNCTIONS | {"sqrt"} and word not in _ALPHABET]
    if words and (gold.tree is not None or _SENTENCE.search(plain)):
        return f"the answer is a sentence with mathematics in it ({' '.join(words[:3])}), and nobody could judge others"
    if _DEFINED.search(gold.text):
        return "the answer gives values of a function, such as P(X=1)=0.2, and nobody could judge others"
    if "\\approx" in reference and _SYMBOL.fullmatch(gold.text):
        return "the answer says what a name is about: write the number alone"
    if gold.tree is not None and not _same(gold.tree, gold.tree) and not symbolic.can_judge(gold.text):
        return "the answer is a formula whose values cannot be calculated"
    return None


def _indifferent(gold: Meaning) -> str | None:
    """The complaint about a reference that would accept itself with another digit: something in it is not compared."""
    if gold.tree is not None and comparison.is_antiderivative(gold.tree):
        return None  # of which the constant is free
    places = [place for place, character in enumerate(gold.text) if "0" <= character <= "9"]
    for place in places[:: -(-len(places) // MUTATIONS) or 1]:
        other = str(int(gold.text[place]) + 1 if gold.text[place] != "9" else 8)
        changed = f"{gold.text[:place]}{other}{gold.text[place + 1 :]}"
        if equivalent(gold.text, changed):
            return f"the answer is not told from {changed[:80]!r}, and nobody could judge others"
    return None


@dataclass(kw_only=True, frozen=True)
class Meaning:
    """An answer as it is compared; what a number is not compared by is read when it is needed."""

    given: str
    text: str
    core: str  # without the unit
    own_unit: str
    number: Fraction | None
    words: str | None  # a reference in letters only

    @property
    def unit(self) -> str:
        return self.own_unit or ("%" if self.text.endswith("%") else "")

    @cached_property
    def tree(self) -> Tree | None:
        """The formula; None: our reader does not understand it."""
        return _with_degrees(_tree(self.core), self.own_unit)

    @cached_property
    def as_given(self) -> Tree | None:
        """The formula with its `y =`."""
        return None if self.own_unit else _tree(decorated(self.given))

    @cached_property
    def is_constant(self) -> bool:
        """Whether it has no variables, or is none that our reader understands."""
        return self.number is not None or self.tree is None or not values.symbols(self.tree)


@lru_cache(maxsize=1024)  # many samples have the same reference
def meaning(reference: str) -> Meaning:
    """The parts of a reference, or of an answer that is taken for one."""
    text = bare(reference)
    core, unit = _split_unit(text) or (text, "")
    core = _option(text) or core
    return Meaning(given=reference, text=text, core=core, own_unit=unit, number=number(core), words=_words(core))


def _judged(gold: Meaning, answer: str, candidate: str) -> bool:
    """Compare with a reference that our reader understands."""
    name = name_of(answer)  # y = 2x is not dy/dx = 2x, and y' = 2x is
    renamed = bool(name) and not name.endswith("'") and gold.tree is not None and gold.tree[0] == "relation"
    for text, unit in _readings(gold, candidate):
        if unit and gold.unit and not _same_unit(gold.unit, unit):
            return _converted(gold, text, unit)
        value = number(text)
        if gold.number is not None and value is not None:
            return gold.number == value
        # `y = 2x + 1` is compared as it stands first: then y is a variable of an equation.
        as_given = gold.as_given, _tree(decorated(answer))
        alone = gold.tree, _with_degrees(_tree(text), unit)
        for reference, given in (as_given,) if as_given == alone or renamed else (as_given, alone):
            if reference is not None and given is not None and _same(reference, given):
                return True
    return False


def _converted(gold: Meaning, text: str, unit: str) -> bool:
    """Whether a value in another unit is the reference exactly: 50 mm are 5 cm."""
    if _DEGREES.fullmatch(gold.unit) and _RADIANS.fullmatch(unit) and r"\pi" in text and gold.tree is not None:
        tree = _tree(text)
        return tree is not None and _same(gold.tree, tree)
    source, target = units.unit(unit), units.unit(gold.unit)
    if source is None or target is None or (ratio := units.rate(source, target)) is None:
        return False
    if gold.number is not None:
        value = number(text)
        return value is not None and units.converted(value, source, target) == gold.number
    if gold.tree is None or source.offset != target.offset:
        return False
    tree = _tree(rf"\frac{{{ratio.numerator}}}{{{ratio.denominator}}}({text})")
    return tree is not None and _same(gold.tree, tree)


def _readings(gold: Meaning, candidate: str) -> list[tuple[str, str]]:
    """The answer as given; then without a unit, if the reference is constant."""
    found = [(_option(candidate) or candidate, "")]
    if gold.is_constant:
        if split := _split_unit(candidate):
            found.insert(0, split)
        if gold.number is not None and (label := _LABELLED.match(candidate)):
            found.append((candidate[label.end() :], ""))
    return found


def _same(gold: Tree, answer: Tree) -> bool:
    try:
        return comparison.same(gold, answer)
    except (UnknownError, UndefinedError, RecursionError):
        return False


@lru_cache(maxsize=1024)
def _tree(text: str) -> Tree | None:
    try:
        return read(text)
    except (UnreadableError, RecursionError):
        return None


def _with_degrees(tree: Tree | None, unit: str) -> Tree | None:
    return comparison.degrees(tree) if tree is not None and _DEGREES.fullmatch(unit) else tree


def _option(text: str) -> str | None:
    """The letter of `(C)` and `\\text{(C)}`."""
    match = _OPTION.fullmatch(MARKUP.sub(r"\1", text).strip())
    return match[1] if match else None


def _words(text: str) -> str | None:
    """A text of words, normalised; None for formulas and for single letters, which are variables."""
    plain = " ".join(MARKUP.sub(r" \1 ", text).split()).strip(" .")
    if _EMPTY.fullmatch(plain):
        return "no solution"
    if not _WORDS.fullmatch(plain) or FUNCTIONS & set(plain.split()):
        return None
    if (
        not re.search("[A-Za-z]{3}", plain)
        and plain.lower() not in _SHORT_WORDS
        and not (" " in plain and "\\" in text)
    ):
        return None
    if "\\" not in text and " " not in plain and len(plain) < 3:
        return plain.lower()
    return " ".join(re.sub(r"[-.,']", " ", plain).lower().split())


def _plainly(text: str) -> str:
    return "".join(MARKUP.sub(r"\1", text).lower().split())


def _ratio(text: str) -> str:
    """A fraction as the ratio of its numbers as they stand: 3:4 for 3/4, and 10:30 is not 1/3."""
    match = _FRACTION.fullmatch("".join(MARKUP.sub(r"\1", text).split()))
    return ":".join(part for part in match.groups() if part) if match else ""


def _split_unit(text: str) -> tuple[str, str] | None:
    """Number and unit of `5 cm`, `5\\text{ cm}^2`, `5 apples`; None without a unit that is known."""
    match = _UNIT.fullmatch(text)
    if match is None:
        return None
    core, unit = [part for part in match.groups() if part is not None]
    core = re.sub(r"(?:\\[,;:!]?|~|\s)+$", "", core)
    unit = re.sub(r"\(\s?(?:in )?([^()]*)\)", r"\1", unit)
    spelt = " ".join(units.plain_spelling(unit).split())
    singular = re.sub(r"s(?=\^|$)", "", spelt.lower())
    known = {singular, spelt.lower()} & _COUNTED or (len(spelt) < 30 and units.unit(unit) is not None)
    return (core, spelt) if known and core else None


def is_counted(unit: str) -> bool:
    """Whether a unit says nothing that a number alone would not: apples, degrees, dollars."""
    small = unit.lower()
    singular = small.removesuffix("s")
    if _DEGREES.fullmatch(small) or singular in ("usd", "dollar", "buck", "degree"):
        return True
    return bool({small, singular} & _COUNTED) and units.unit(unit) is None


def _same_unit(a: str, b: str) -> bool:
    if a.lower().removesuffix("s") == b.lower().removesuffix("s"):
        return True
    meanings = units.unit(a), units.unit(b)
    return meanings[0] is not None and meanings[0] == meanings[1]
