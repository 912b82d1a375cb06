"""The forms that answers to reasoning-gym's puzzles have; a text of another form is no answer.

Many published scorers look for an answer anywhere in a text, so that "It is false that ..." or "a or b" was right.
Here the whole text must be one answer of the generator's kind: a number, a grid of the right shape, a list of moves,
the given words in some order. Marks around it (bold, code, a formula, a box, a final period) are taken off, and what
is written in another way than the scorer reads it (`1,200`, `TRUE`, further blanks) is rewritten.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

Form = Callable[[str, str], str | None]
"""The text as the scorer reads it, made of the text and the reference answer ("" where there is none); None if the text
has another form."""

_MARKS = re.compile(
    r"```[\w+-]{0,16}\n([^`]*)```|`([^`]*)`|\*\*(.*)\*\*|\$\$?([^$]*)\$\$?|\\\(((?:(?!\\\)).)*)\\\)|\\\[((?:(?!\\\]).)*)\\\]"
    r"|\\(?:boxed|text)\{(.*)\}|\"([^\"\n]*)\"",
    re.DOTALL,
)


def read(dataset: str, text: str, right: str) -> str | None:
    """The answer that a text is, rewritten for the scorer of `dataset`; None if it is no answer of the right form."""
    form = FORMS[dataset]
    for reading in readings(text):
        try:
            answer = form(reading, right)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):  # no JSON, no number
            continue
        if answer is not None:
            return answer
    return None


def readings(text: str) -> Iterator[str]:
    """The text, and what remains of it when marks around it and one final period are taken off, from outside in."""
    text, may_end = text.strip(), True
    yield text
    for _ in range(6):
        marked = _MARKS.fullmatch(text)
        if marked:
            text = next(part for part in marked.groups() if part is not None).strip()
        elif may_end and text.endswith("."):
            text, may_end = text[:-1].rstrip(), False
        else:
            return
        yield text


# Forms ---------------------------------------------------------------------------------------------------------------


def pattern(expression: str) -> Form:
    """One writing, by a regular expression."""
    compiled = re.compile(expression)
    return lambda text, right: text if compiled.fullmatch(text) else None


def either(*forms: Form) -> Form:
    return lambda text, right: next((found for form in forms if (found := form(text, right)) is not None), None)


def choice(*words: str) -> Form:
    """One of a few words, in any case."""
    spelled = {word.lower(): word for word in words}
    return lambda text, right: spelled.get(text.lower())


def only(text: str, right: str) -> str | None:
    """The reference, where all characters count but blanks at the ends of lines."""
    lines, wanted = ([line.rstrip() for line in each.strip().split("\n")] for each in (text, right))
    return right if lines == wanted else None


def as_long(text: str, right: str) -> str | None:
    """One line with as many characters as the reference, and a period at its end if that has one."""
    ends = text.endswith(".") == right.endswith(".")
    return text if ends and len(text) == len(right) and "\n" not in text else None


_SIZE = r"(?:\d{1,30}(?:\.\d{1,30})?)"
_DECIMAL = rf"-?{_SIZE}"
_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,399})(?:\.\d{1,99})?"
_MONEY = re.compile(rf"[$\u20ac\u00a3]?\s?({_NUMBER})\s?%?")
_POWER = re.compile(rf"({_NUMBER})(?:\s?[eE]([+-]?\d{{1,3}}))?")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?")
_FRACTION = re.compile(r"(-?\d{1,60})\s?/\s?(\d{1,60})|(-?)\\[dt]?frac\s?\{\s?(\d{1,60})\s?\}\s?\{\s?(\d{1,60})\s?\}")


def number(text: str, right: str) -> str | None:
    """A decimal number, perhaps with thousands separated; spelled as the reference if it is equal."""
    found = _POWER.fullmatch(text.replace("\u2212", "-"))
    if found is None:
        return None
    plain = found[1].replace(",", "") + (f"e{found[2]}" if found[2] else "")
    return right if _PLAIN.fullmatch(right) and Decimal(plain) == Decimal(right) else plain


def amount(text: str, right: str) -> str | None:
    """A number, perhaps with a currency or a percent sign."""
    found = _MONEY.fullmatch(text)
    return number(found[1], right) if found else None


def fraction(text: str, right: str) -> str | None:
    found = _FRACTION.fullmatch(text)
    if found is None:
        return None
    above, below, sign, latex_above, latex_below = found.groups()
    return f"{above}/{below}" if above else f"{sign}{latex_above}/{latex_below}"


def solved_for(text: str, right: str) -> str | None:
    """A number, perhaps as the value of a letter: `x = 3`."""
    return number(re.sub(r"\A[A-Za-z]\s?=\s?", "", text), right)


def row(cell: str) -> Form:
    """Cells in one line with blanks between them."""
    compiled = re.compile(cell)

    def form(text: str, right: str) -> str | None:
        cells = text.split()
        return " ".join(cells) if "\n" not in text and all(map(compiled.fullmatch, cells)) else None

    return form


def grid(cell: str) -> Form:
    """Rows of cells, as many as the reference has."""
    line = row(cell)

    def form(text: str, right: str) -> str | None:
        rows = [line(each, "") for each in text.split("\n") if each.strip()]
        wanted = [len(each.split()) for each in right.split("\n") if each.strip()]
        if any(each is None for each in rows) or [len(str(each).split()) for each in rows] != wanted:
            return None
        return "\n".join(map(str, rows))

    return form


def given(mark: str | None) -> Form:
    """The words of the reference in some order, `mark` (None: blanks) between them."""

    def form(text: str, right: str) -> str | None:
        words, wanted = ([word.strip() for word in each.split(mark)] for each in (text, right))
        same = sorted(map(str.lower, words)) == sorted(map(str.lower, wanted))
        return f"{mark or ''} ".join(words) if same else None

    return form


def unscrambled(text: str, right: str) -> str | None:
    """Words as long as those of the reference."""
    return text if list(map(len, text.split())) == list(map(len, right.split())) else None


def listed(text: str, right: str) -> str | None:
    """A list of numbers, each in quotes or bare."""
    inside = re.fullmatch(r"\[(.*)\]", text)
    items = inside[1].split(",") if inside and inside[1].strip() else []
    found = [re.fullmatch(r"\s*(['\"]?)(-?\d{1,60}(?:\.\d{1,60})?)\1\s*", item) for item in items]
    return None if inside is None or not all(found) else str([each[2] for each in found if each])


def roots(text: str, right: str) -> str | None:
    """Numbers with commas between them, none more often than in the reference."""
    if not re.fullmatch(rf"{_DECIMAL}(?:\s?,\s?{_DECIMAL}){{0,20}}", text):
        return None
    return text if _repeated(text) <= _repeated(right) else None


def _repeated(numbers: str) -> Counter[float]:
    values = [float(value) for value in numbers.split(",")]
    return Counter(values) - Counter(set(values))


def presses(text: str, right: str) -> str | None:
    """Buttons with one and the same mark between them."""
    for mark in ("\u2192", "->", ",", " ", None):
        buttons = list(text) if mark is None else [part.strip() for part in text.split(mark)]
        if all(re.fullmatch("[A-Ca-c]", button) for button in buttons):
            return " \u2192 ".join(buttons).upper()
    return None


def hanoi_moves(text: str, right: str) -> str | None:
    """A line per move, from a peg to another one."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    moves = [re.fullmatch(r"(?i:move disk (\d{1,3}) from peg (\d{1,3}) to peg (\d{1,3}))", line) for line in lines]
    if not lines or any(move is None or move[2] == move[3] for move in moves):
        return None
    return "\n".join("Move disk {} from Peg {} to Peg {}".format(*move.groups()) for move in moves if move)


_AND = re.compile(r"(?i:\.?\n|\.\s|,\s?and\s|,|\sand\s)")
_ROLE = re.compile(r"(?i:(\w+) is (an?) (\w+))")


def knights_and_knaves(text: str, right: str) -> str | None:
    """A role for each person of the reference, once."""
    said, wanted = (
        [_ROLE.fullmatch(part.strip()) for part in _AND.split(each.removesuffix("."))] for each in (text, right)
    )
    if not all(said):
        return None
    names = [sorted(part[1].lower() for part in each if part) for each in (said, wanted)]
    return ", and ".join(f"{part[1]} is {part[2]} {part[3]}" for part in said if part) if names[0] == names[1] else None


def mapping(text: str, right: str) -> str | None:
    """Letters with their digits, each letter once."""
    if not re.fullmatch(r"[A-Z]\s?=\s?\d(?:\s?,\s?[A-Z]\s?=\s?\d){0,25}", text):
        return None
    letters = re.findall("[A-Z]", text)
    return text if len(set(letters)) == len(letters) else None


def factors(text: str, right: str) -> str | None:
    """Whole numbers with signs of multiplication between them."""
    found = re.fullmatch(r"\d{1,30}(?:\s?(?:\u00d7|\*|x|\\times|\\cdot)\s?\d{1,30}){0,60}", text)
    return " \u00d7 ".join(re.findall(r"\d+", text)) if found else None


def _json(text: str) -> Any:
    """The value of a JSON text in which no key is twice. Raises ValueError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) if len({key for key, _ in pairs}) == len(pairs) else _refuse()

    return json.loads(text, object_pairs_hook=once, parse_constant=_refuse)


def _refuse(*_: Any) -> Any:
    raise ValueError("another form")


def json_list(element: str) -> Form:
    """A JSON list of strings, each by a regular expression."""
    compiled = re.compile(element)

    def form(text: str, right: str) -> str | None:
        values = _json(text)
        return text if isinstance(values, list) and values and all(map(compiled.fullmatch, values)) else None

    return form


def groups(text: str, right: str) -> str | None:
    """A JSON list of different lists of strings."""
    values = _json(text)
    well = isinstance(values, list) and all(
        isinstance(group, list) and all(isinstance(word, str) for word in group) for group in values
    )
    return text if well and len(set(map(tuple, values))) == len(values) else None


def colors(text: str, right: str) -> str | None:
    """A JSON object from vertices of the reference to whole numbers."""
    values = _json(text)
    well = isinstance(values, dict) and values.keys() == json.loads(right).keys()
    return text if well and all(type(color) is int for color in values.values()) else None


_AGENT = re.compile(r"Agent\s?\[\d{1,3}\.\d, ?\d{1,3}\.\d\]")
_BOX_MOVE = re.compile(r"move\(box_[a-z]+, (?:target_[a-z]+|square\[\d{1,3}\.\d, ?\d{1,3}\.\d\])\)")


def box_moves(text: str, right: str) -> str | None:
    """A JSON list of steps, each an object from agents to their moves."""
    steps = _json(text)
    well = isinstance(steps, list) and all(
        isinstance(step, dict) and all(map(_AGENT.fullmatch, step)) and all(map(_BOX_MOVE.fullmatch, step.values()))
        for step in steps
    )
    return text if well else None


def joined(part: str, between: str, mark: str | None = None) -> Form:
    """Parts with `between` between them; if there is a `mark`, that is put there for the scorer."""
    compiled = re.compile(rf"{part}(?:(?:{between}){part}){{0,2000}}")

    def form(text: str, right: str) -> str | None:
        if compiled.fullmatch(text) is None:
            return None
        return text if mark is None else mark.join(re.findall(part, text))

    return form


def in_lower_case(form: Form) -> Form:
    return lambda text, right: form(text.lower(), right)


def in_upper_case(form: Form) -> Form:
    return lambda text, right: form(text.upper(), right)


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_FORMS: tuple[tuple[Form, str], ...] = (
    (number, "aiw basic_arithmetic binary_alternation chain_sum circuit_logic count_bits count_primes gcd lcm maze "
             "decimal_arithmetic decimal_chain_sum largest_island leg_counting letter_counting number_format products "
             "number_sequence power_function rectangle_count rotten_oranges self_reference simple_geometry"),
    (amount, "gsm_symbolic"),
    (solved_for, "simple_equations"),
    (fraction, "dice fraction_simplification"),
    (either(number, fraction), "coin_flip"),
    (either(number, choice("Yes", "No", *_DAYS)), "calendar_arithmetic"),
    (pattern(r"-?[0-9a-z]+"), "base_conversion"),
    (pattern(r"-?(?:0[xX])?[0-9a-fA-F]+"), "bitwise_arithmetic"),
    (pattern(rf"(\()?(?:{_DECIMAL}(?: ?[+-] ?{_SIZE}?[ijIJ])?|-? ?{_SIZE}?[ijIJ])(?(1)\))"), "complex_arithmetic"),
    (pattern(rf"\({_DECIMAL}, ?{_DECIMAL}\)|{_DECIMAL}, ?{_DECIMAL}|{_DECIMAL} ?\u00b0?"), "advanced_geometry"),
    (pattern(r"(?![*/])[0-9+\-*/() ]*[0-9)]"), "countdown puzzle24"),
    (pattern(r"(?![*/.])[0-9A-Za-z+\-*/() .^]*[0-9A-Za-z)]"),
     "intermediate_integration polynomial_multiplication simple_integration"),
    (roots, "polynomial_equations"),
    (factors, "prime_factorization"),
    (mapping, "cryptarithm"),
    (listed, "number_filtering number_sorting"),
    (choice("True", "False"), "course_schedule game_of_life_halting isomorphic_strings ransom_note"),
    (choice("Yes", "No"), "syllogism"),
    (choice("on", "off", "undetermined"), "acre"),
    (choice("Peng", "Chi", "Pass"), "mahjong_puzzle"),
    (knights_and_knaves, "knights_knaves"),
    (joined(r"[(\u00ac ]*[A-Z][) ]*", r"[\u2227\u2228\u2192\u2194]"), "propositional_logic"),
    (pattern(r"\w+(?:[ '-]\w+){0,8}"), "color_cube_rotation family_relationships needle_haystack zebra_puzzles"),
    (only, "bf caesar_cipher futoshiki string_manipulation"),
    (as_long, "emoji_mystery spell_backward"),
    (pattern(r"[A-Za-z](?: ?[A-Za-z])*"), "figlet_font"),
    (pattern(r"[A-Za-z]+"), "palindrome_generation"),
    (pattern(r"[A-Z]+"), "string_insertion"),
    (given(","), "word_sequence_reversal word_sorting"),
    (given(None), "sentence_reordering"),
    (unscrambled, "letter_jumble"),
    (groups, "group_anagrams palindrome_partitioning"),
    (pattern(r"[A-Za-z]+(?:\s?,\s?[A-Za-z]+){1,60}"), "word_ladder"),
    (grid(_DECIMAL), "binary_matrix manipulate_matrix mini_sudoku pool_matrix rotate_matrix sudoku survo"),
    (grid(r"[\w\[\](),]+"), "arc_agi rearc"),
    (grid("[01]"), "kakurasu"),
    (grid("[_Q]"), "n_queens"),
    (grid("[\u274c\u2705]+"), "modulo_grid"),
    (row(_DECIMAL), "arc_1d spiral_matrix string_splitting string_synthesis"),
    (row("[AB]#|#[AB]"), "ab"),
    (row(r"\w+"), "path_star"),
    (pattern(r"[\[\]01,\s]+"), "game_of_life"),
    (colors, "graph_color"),
    (pattern(r"[A-Za-z]\d{1,2}"), "tsumego"),
    (box_moves, "boxnet"),
    (json_list(r"(?:fill|empty) [A-Z]|pour [A-Z]->[A-Z]"), "jugs"),
    (either(choice("No"), json_list(r"[wB],[A-Z]\d{1,2},[A-Z]\d{1,2}")), "knight_swap"),
    (presses, "quantum_lock"),
    (joined("[UDLRFBudlrfb](?:2'?|'2?)?", r"\s?", " "), "rubiks_cube"),
    (joined(r"[A-Z][+-]\d", r"\s?,\s?|\s", " "), "rush_hour"),
    (in_lower_case(either(choice("infeasible"), joined("(?:up|down|left|right)", r"\s?,\s?|\s{1,3}", " "))),
     "shortest_path"),
    (in_upper_case(joined("[UDLR]", " ?,? ?", "")), "sokoban"),
    (hanoi_moves, "tower_of_hanoi"),
)  # fmt: skip
FORMS: dict[str, Form] = {name: form for form, names in _FORMS for name in names.split()}
"""The form of an answer, by data set."""
