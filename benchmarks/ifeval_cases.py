"""Answers on both sides of the boundary of every kind of IFEval, made from pieces; the same ones in every run.

An answer is a few pieces of the kind and of others, joined and wrapped as models write. Bounds of counts are the counts
themselves and their neighbours, so that a count that differs by one shows in a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from prorl_mega.tasks.instruction.official_checks import OFFICIAL_CHECKS

Constraint = dict[str, Any]
HIGHEST = 400  # bounds that are tried


@dataclass(frozen=True, slots=True)
class Case:
    constraint: Constraint
    answer: str


_READ = yaml.safe_load(Path(__file__).with_name("ifeval_pieces.yaml").read_text(encoding="utf-8"))
SENTENCES: list[str] = _READ["sentences"]
LANGUAGES: dict[str, str] = _READ["languages"]
MARKS: list[str] = _READ["marks"]
FRAMES: list[str] = _READ["frames"] + ["{}"] * 4
PIECES: dict[str, list[str]] = _READ["pieces"]  # by kind
PARAMETERS: dict[str, list[dict[str, Any]]] = _READ["parameters"]  # by kind: those that are not bounds
WHOLE = ("detectable_format:json_format", "startend:quotation", "combination:repeat_prompt")  # about all of an answer
JOINS = ("", " ", " ", "\n", "\n\n")


def cases(count: int) -> Iterator[Case]:
    """`count` different cases of every kind."""
    for kind in PIECES:
        random, seen = Random(kind), set[tuple[str, str]]()
        while len(seen) < count:
            given = dict(random.choice(PARAMETERS.get(kind, [{}])))
            text = _answer(kind, given, random)
            constraint = {"kind": kind, **given, **_bounds(kind, given, text, random)}
            if (key := (repr(constraint), text)) not in seen:
                seen.add(key)
                yield Case(constraint, text)


def _answer(kind: str, given: Constraint, random: Random) -> str:
    own, others = PIECES[kind], random.choice((SENTENCES, MARKS, [*LANGUAGES.values(), *_READ["other_languages"]]))
    if kind == "language:response_language" and random.random() < 0.6:
        own = [LANGUAGES[given["language"]], "OK", "1, 2, 3.", "..."]
    elif kind.startswith("change_case:english") and random.random() < 0.5:
        others = [each.upper() if kind.endswith("capital") else each.lower() for each in SENTENCES]
    share = random.choice((0.5, 0.8, 1.0))
    pieces = [random.choice(own if random.random() < share else others) for _ in range(random.randint(1, 8))]
    if kind in WHOLE and random.random() < 0.5:
        return pieces[0] + random.choice(("", "\n", " x"))
    return random.choice(FRAMES).replace("{}", "".join(each + random.choice(JOINS) for each in pieces))


def _bounds(kind: str, given: Constraint, text: str, random: Random) -> Constraint:
    """Bounds at the count of the text or beside it, with a relation where the kind has one."""
    check = OFFICIAL_CHECKS[kind]
    names = [each for each in check.parameters if each not in given]
    relation = next((each for each in names if each.endswith("relation")), None)
    bound = next((each for each in names if each != relation), None)
    if bound is None:
        return {}

    def holds(value: int) -> bool:
        return check.follows(text, **given, **{bound: value, **({relation: "at least"} if relation else {})})

    found = max(1, _largest(holds) + random.choice((0, 0, 1, -1)))
    return {bound: found, **({relation: random.choice(("at least", "less than"))} if relation else {})}


def _largest(holds: Callable[[int], bool]) -> int:
    """The largest bound that holds, 0 if there is none."""
    return max((value for value in range(HIGHEST) if holds(value)), default=0)
