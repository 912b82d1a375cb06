"""Rules that make the scores of reasoning-gym's data sets fit to train on.

reasoning-gym 0.1.25 makes the problems and scores the answers. Its scorers were attacked with padded, doubled, altered
and constant answers. This file lists the consequences: data sets that cannot be used, problems that are skipped, the
characters that an answer may have if the scorer evaluates it, and further conditions for a full score. Partial scores
count only where they measure how much of a solution is right (`PROGRESS`): many are given for containing the answer,
for being readable, or for a close guess.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

from prorl_mega.tasks.extract import MAX_ANSWER
from prorl_mega.tasks.logic.conclusions import concluded

Item = dict[str, Any]  # reasoning-gym's: question, answer, metadata

EXCLUDED = {
    "composite": "is a mixture of the others; tasks.mixture mixes",
    "codeio": "makes its problems by executing programs of its data file",
    "list_functions": "makes other problems at every call: it uses the global random state",
    "time_intervals": "makes other problems every day: its intervals begin today",
}
HASH_DEPENDENT = ("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder")
"""Data sets whose problems depend on the hash seed of the interpreter: they iterate over sets."""

ENDLESS_LEVELS = {"jugs": (3,), "sokoban": (0,)}
"""Levels of a curriculum at which one problem takes minutes to make."""


class Credit(Enum):
    """The reward of an answer that is not a full solution."""

    none = "none"  # nothing
    progress = "progress"  # reasoning-gym's partial score where it measures progress, otherwise nothing
    all = "all"  # reasoning-gym's partial score, whatever it measures


PROGRESS = {
    "boxnet": "share of the boxes that reach their targets, times the share of the actions that can be done",
    "emoji_mystery": "share of the characters in their places",
    "knight_swap": "solved with more moves than needed: the ratio",
    "letter_jumble": "share of the words that are unscrambled",
    "polynomial_equations": "how near the roots are, less what is missing or too much",
    "quantum_lock": "solved with more presses than needed: a half",
    "sentence_reordering": "share of the words in their places",
    "shortest_path": "a way that is longer than needed: a half",
    "spell_backward": "share of the letters in their places",
    "tower_of_hanoi": "solved with more moves than needed: the ratio",
    "word_sorting": "share of the words in their places",
}
CONSOLATION = 0.05  # partial scores up to this are given for being readable

_NUMBERS, _NESTED = r"[0-9+\-*/() ]*", r"[\[\](), 0-9\n-]*"
ALPHABET = {
    "binary_matrix": _NESTED,
    "countdown": _NUMBERS,
    "intermediate_integration": r"[0-9A-Za-z+\-*/() .^]*",
    "n_queens": r"[\[\]_Q,'\" \n]*",
    "polynomial_multiplication": r"[0-9A-Za-z+\-*/() ^]*",
    "puzzle24": _NUMBERS,
    "quantum_lock": r"(?:[ABCabc,\s\u2192]|->)*",
    "rubiks_cube": r"(?:[UDLRFBudlrfb'\s]|2)*",
    "rush_hour": r"(?:[A-Z][+-]\d(?!\d)|[\s,])*",
    "simple_integration": r"[0-9A-Za-z+\-*/() .^]*",
    "sokoban": r"[UDLRudlr,\s]*",
    "spiral_matrix": _NESTED,
    "string_insertion": r"[\[\]A-Z,'\" ]*",
}
"""The allowed parts of an answer, where the scorer passes it to `eval` or a parser that calls functions, repeats moves
without a limit, or picks the letters that it knows from any text."""
_FUNCTIONS = frozenset(("sin", "cos", "tan", "sec", "csc", "cot", "exp", "log", "ln", "sqrt", "asin", "acos", "atan",
                        "sinh", "cosh", "tanh"))  # fmt: skip
"""Functions of sympy; not Integral, whose derivative is its integrand, nor expand."""
FUNCTIONS = {
    "intermediate_integration": _FUNCTIONS,
    "simple_integration": _FUNCTIONS,
    "polynomial_multiplication": frozenset(),
}
_NAME = re.compile(r"[A-Za-z]{2,}")


def allowed(dataset: str, answer: str) -> bool:
    """Whether this answer may be passed to the data set's scorer."""
    pattern = ALPHABET.get(dataset)
    if pattern is not None and not re.fullmatch(pattern, answer):
        return False
    return dataset not in FUNCTIONS or FUNCTIONS[dataset].issuperset(_NAME.findall(answer))


def reward(dataset: str, raw: Any, answer: str, item: Item, scorer: Any, credit: Credit) -> float:
    """The scorer's number as a reward: full marks if they are deserved, partial ones as `credit` says."""
    value = float(raw) * (_done(answer, item) if dataset == "boxnet" else 1.0)
    if not math.isfinite(value) or value <= 0:
        return 0.0
    if value >= 1 - 1e-9:
        return float(deserved(dataset, answer, item, scorer))
    if credit is Credit.all:
        return value
    counts = credit is Credit.progress and dataset in PROGRESS and value > CONSOLATION
    return value if counts and _as_many_parts(dataset, answer, item) else 0.0


def deserved(dataset: str, answer: str, item: Item, scorer: Any) -> bool:
    """Whether an answer that the scorer gives full marks is a solution."""
    rule = _CONDITIONS.get(dataset)
    try:
        return _as_many_parts(dataset, answer, item) and (rule is None or bool(rule(answer, item, scorer)))
    except (ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, RecursionError):
        return False


def acceptable(item: Item, dataset: str, scorer: Any) -> bool:
    """Whether a problem can be posed; the others are skipped."""
    if isinstance(item["answer"], str) and len(item["answer"]) > MAX_ANSWER:
        return False  # too long for any answer
    if dataset == "polynomial_equations":
        return bool(item["answer"])  # no real root: anything that is no number would be right
    if dataset in FUNCTIONS:
        return allowed(dataset, item["answer"])  # some references are unevaluated integrals
    if dataset == "propositional_logic":
        return deserved(dataset, item["metadata"]["example_answer"], item, scorer)
    return True


def reference(dataset: str, item: Item) -> str | None:
    """A right answer, where reasoning-gym has one."""
    if isinstance(item["answer"], str):
        return item["answer"]
    metadata = item["metadata"]
    if dataset == "graph_color":
        return json.dumps({str(vertex): color for vertex, color in metadata["possible_answer"].items()})
    found = metadata.get("example_answer") or metadata.get("example_correct_answer")
    return found if isinstance(found, str) else None


def calculate(expression: str) -> tuple[Fraction, list[int]]:
    """Exact value of an expression of whole numbers, `+ - * /` and brackets, and its numbers. Raises ValueError."""
    numbers: list[int] = []

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            numbers.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        raise ValueError("only + - * / and brackets")

    if len(expression) > 400:
        raise ValueError("too long")
    return value(ast.parse(expression.strip(), mode="eval").body), numbers


_OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _makes(answer: str, item: Item, target: Any) -> bool:
    """Whether it has the problem's numbers, each once, and exactly the target (published: 24.7 is 24, any numbers)."""
    result, numbers = calculate(answer)
    return result == target and sorted(numbers) == sorted(item["metadata"]["numbers"])


def _probability(answer: str, item: Item, scorer: Any) -> bool:
    """Whether it is within a thousandth of the probability (published: "0" begins "0.15" and has full marks)."""
    if not re.fullmatch(r"[0-9./,\s]{1,60}(?:[eE]-?\d{1,3})?", answer):
        return False
    exact = Fraction(item["answer"])
    return abs(Fraction(answer.replace(",", "").strip()) - exact) <= exact / 1000


def _same_decimal(answer: str, item: Item, scorer: Any) -> bool:
    """Whether it has all decimals of the reference (published: off by one in a place that depends on the settings)."""
    right = Decimal(item["answer"])
    given = Decimal(answer.strip())
    return given == right or given.quantize(right) == right


def _number_list(text: str) -> list[float]:
    return [float(number) for number in ast.literal_eval(text.strip())]


def _one_number(answer: str, item: Item, scorer: Any) -> bool:
    """Whether it is a number, perhaps with a currency (published: the first digits anywhere, without their sign)."""
    found = re.fullmatch(r"[$\u20ac\u00a3]?\s?(-?[0-9][0-9,]*(?:\.[0-9]+)?)\s?%?\.?", answer.strip())
    return found is not None and float(found[1].replace(",", "")) == float(item["answer"])


def _pooled(answer: str, item: Item, scorer: Any) -> bool:
    """Whether it is correct to two decimals, as the problem asks (published: to a hundredth of the value)."""
    given, right = ([float(number) for number in text.split()] for text in (answer, item["answer"]))
    return len(given) == len(right) and all(abs(a - b) <= 0.00501 for a, b in zip(given, right, strict=True))


def _in_known_symbols(answer: str, item: Item, scorer: Any) -> bool:
    """Whether it is in the variable and a constant (published: in any letters, which count as constants)."""
    names = set(re.findall(r"(?<![\w.])[A-Za-z]\w*", answer)) - _FUNCTIONS - {item["metadata"]["variable"], "E"}
    return all(re.fullmatch(r"[CcKk]\d?", name) for name in names)


def _poured(answer: str, item: Item, scorer: Any) -> bool:
    """Whether every move has an effect and the last one brings the amount (published: also one long before)."""
    from reasoning_gym.algorithmic.jugs import verify_solution

    puzzle = item["metadata"]["puzzle"]
    _, states = verify_solution(puzzle, json.loads(answer))
    moved = all(before != after for before, after in itertools.pairwise(states))
    return moved and [puzzle["target"] in state for state in states].index(True) == len(states) - 1


def _pushed(answer: str, item: Item, scorer: Any) -> bool:
    """Whether every move has an effect and the last one solves it (published: others are passed over)."""
    rows = [list(line) for line in item["metadata"]["gamestr"].replace(" ", "").strip().split("\n")]
    game = scorer._Game(height=len(rows), width=len(rows[0]))
    game.load_puzzle_matrix(rows)
    return all(not scorer._is_solved(game.get_curr_state()) and game.player.update(key=move) for move in answer)


def _driven(answer: str, item: Item, scorer: Any) -> bool:
    """Whether every move has an effect and the last one lets the car out (published: others are passed over)."""
    from reasoning_gym.games.rush_hour import Board

    board = Board(item["metadata"]["board_config"])
    for move in answer.split():
        places = [piece.position for piece in board._pieces]
        if board.solved:
            return False
        board.perform_moves(move)
        if places == [piece.position for piece in board._pieces]:
            return False
    return True


def _done(answer: str, item: Item) -> float:
    """The share of a plan's actions that the agents can do (published: the others are passed over)."""
    from reasoning_gym.games.boxnet import action_from_response

    states = [item["metadata"]["initial_state"]]
    for action in [{agent: move} for step in json.loads(answer) for agent, move in step.items()]:
        states.append(action_from_response(states[-1], [action]))
    return sum(before != after for before, after in itertools.pairwise(states)) / max(1, len(states) - 1)


_PARTS: dict[str, Callable[[str], int]] = {
    "letter_jumble": lambda text: len(text.split()),
    "spell_backward": len,
    "word_sorting": lambda text: text.count(","),
}
"""Counts that an answer and the reference must share, where the scorer only looks at the parts that are there."""


def _as_many_parts(dataset: str, answer: str, item: Item) -> bool:
    count = _PARTS.get(dataset)
    return count is None or count(answer.strip()) == count(item["answer"].strip())


_CONDITIONS: dict[str, Callable[[str, Item, Any], Any]] = {
    "calendar_arithmetic": lambda answer, item, scorer: answer.strip().lower() == item["answer"].strip().lower(),
    "coin_flip": _probability,
    "complex_arithmetic": lambda answer, item, scorer: "n" not in answer.lower(),  # NaN is at no distance
    "countdown": lambda answer, item, scorer: _makes(answer, item, item["metadata"]["target"]),
    "decimal_arithmetic": _same_decimal,
    "figlet_font": lambda answer, item, scorer: answer.replace(" ", "").lower() == item["answer"].lower(),
    # The same rows and cells (published: those beyond the reference are ignored).
    "game_of_life": lambda answer, item, scorer: json.loads(answer) == json.loads(item["answer"]),
    "game_of_life_halting": lambda answer, item, scorer: answer.strip().lower() == item["answer"].lower(),
    "gsm_symbolic": _one_number,
    "intermediate_integration": _in_known_symbols,
    "jugs": _poured,
    "number_format": lambda answer, item, scorer: math.isclose(
        float(answer.replace(",", "")), float(item["answer"]), rel_tol=1e-12
    ),
    # The same numbers (published: each may be off by one).
    "number_sorting": lambda answer, item, scorer: _number_list(answer) == _number_list(item["answer"]),
    # A list of numbers (published: what cannot be read is left out, so that a doubled list is right).
    "polynomial_equations": lambda answer, item, scorer: re.fullmatch(
        r"-?[0-9.]{1,40}(?:\s*,\s*-?[0-9.]{1,40}){0,20}", answer.strip()
    ),
    "pool_matrix": _pooled,
    "propositional_logic": concluded,
    "puzzle24": lambda answer, item, scorer: _makes(answer, item, 24),
    "rush_hour": _driven,
    "simple_integration": _in_known_symbols,
    "sokoban": _pushed,
    "spell_backward": lambda answer, item, scorer: answer.lower() == item["answer"].lower(),
}
"""Further conditions for full marks, where the published scorer gives them to wrong answers."""
