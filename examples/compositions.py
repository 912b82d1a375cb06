"""A skill and its parts: operations on four letters, one at a time or composed. The tasks of `make boundary`.

    python -m prorl_mega.tasks show --module examples/compositions.py composition depth=3
    python -m prorl_mega.tasks check --module examples/compositions.py beginning

`composition` gives operations and letters, `RLUabcd`: reverse, rotate, then shift each letter. A worked solution has a
line per operation, its letter and what is left of the letters: `Rdcba`, `Lcbad`, `Udcbe`. The last line is the answer.
`beginning` gives the same and asks for the first line; some of its worked solutions go on to name the second operation,
and break off. `step` gives a line of random letters and the letter of an operation, to be done to them. Whoever can do
both has every part of a composition; what follows the second operation, and which one is the third, is in no text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from random import Random

from prorl_mega.tasks import Task, extract, register
from prorl_mega.types import Problem, Verdict

LETTERS = "abcdefgh"
LENGTH = 4
MOST_READINGS = 16


def later(letter: str) -> str:
    """The next letter; `a` comes after the last."""
    return LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)]


OPERATIONS: dict[str, Callable[[str], str]] = {
    "R": lambda text: text[::-1],  # reverse
    "L": lambda text: text[1:] + text[0],  # rotate to the left
    "S": lambda text: text[3] + text[1:3] + text[0],  # swap the ends
    "H": lambda text: text[2:] + text[:2],  # swap the halves
    "U": lambda text: "".join(map(later, text)),  # every letter up by one
    "F": lambda text: later(text[0]) + text[1:],  # the first one up
    "E": lambda text: text[:3] + later(text[3]),  # the last one up
    "D": lambda text: text[0] + text[0] + text[2:],  # double the first, in place of the second
}

_LINE = re.compile(rf"[{''.join(OPERATIONS)}]([{LETTERS}]{{{LENGTH}}})")
_RUN = re.compile(rf"(?<![a-z])[{LETTERS}]{{{LENGTH}}}(?![a-z])")


def chain(operations: str, letters: str) -> list[str]:
    """The letters after each of the operations, done one after the other."""
    states = []
    for operation in operations:
        letters = OPERATIONS[operation](letters)
        states.append(letters)
    return states


def has_short_cut(operations: str, letters: str) -> bool:
    """Whether leaving out some of the operations gives the same answer."""
    answer = chain(operations, letters)[-1]
    return any(
        (chain("".join(some), letters) or [letters])[-1] == answer
        for count in range(len(operations))
        for some in combinations(operations, count)
    )


@dataclass(kw_only=True, slots=True)
class CompositionOptions:
    """How many operations a problem has, all different; so the letter of one says where in the problem it stands."""

    depth: int = 2
    solved: float = 0.0  # share of the prompts that have a solved problem of one operation, another one, above

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= len(OPERATIONS):
            raise ValueError(f"depth: must be from 1 to {len(OPERATIONS)}, not {self.depth}")
        if not 0 <= self.solved <= 1:
            raise ValueError(f"solved: must be from 0 to 1, not {self.solved}")


def draw(random: Random, depth: int) -> tuple[str, str]:
    """Operations and letters of a problem without a short cut."""
    while True:
        operations = "".join(random.sample(list(OPERATIONS), depth))
        letters = "".join(random.choices(LETTERS, k=LENGTH))
        if not has_short_cut(operations, letters):
            return operations, letters


def worked(operations: str, letters: str) -> list[str]:
    """The lines of a worked solution."""
    return ["".join(line) for line in zip(operations, chain(operations, letters), strict=True)]


def solved_problem(random: Random) -> str:
    """A problem of one operation with its solution."""
    operation, letters = draw(random, 1)
    return f"{operation}{letters}\n{worked(operation, letters)[0]}\n"


@register("composition")
class Composition(Task):
    """What is left of four letters after some operations? No operation can be left out: see `has_short_cut`."""

    options_type = CompositionOptions
    options: CompositionOptions

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operations, letters = draw(random, self.options.depth)
        lines = worked(operations, letters)
        above = solved_problem(random) if random.random() < self.options.solved else ""
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{above}{operations}{letters}\n",
            entry={"answer": lines[-1][1:]},
            solution="\n".join(lines),
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        """The last line alone is judged: an operation's letter and the four letters that are left."""
        line = _LINE.fullmatch(extract.final_line(extract.clean(answer)) or "")
        if line is None:
            return Verdict(reward=0.0, detail="the last line is no operation with four letters", found=False)
        return Verdict(reward=float(line[1] == problem.entry["answer"]), detail=line[1])

    def readings(self, problem: Problem, answer: str) -> list[str]:
        """Any four letters that stand alone, wherever they are: as lenient as can be."""
        runs = list(dict.fromkeys(_RUN.findall(extract.clean(answer))))
        return [f"R{run}" for run in runs[-MOST_READINGS:]]

    def canonical(self, problem: Problem, answer: str) -> str:
        line = _LINE.fullmatch(extract.final_line(extract.clean(answer)) or "")
        return line[1] if line else ""


@dataclass(kw_only=True, slots=True)
class BeginningOptions:
    """Two to `most` operations, all different."""

    most: int = 6
    goes_on: float = 0.0  # share of the worked solutions that go on to name the second operation, and break off

    def __post_init__(self) -> None:
        if not 2 <= self.most <= len(OPERATIONS):
            raise ValueError(f"most: must be from 2 to {len(OPERATIONS)}, not {self.most}")
        if not 0 <= self.goes_on <= 1:
            raise ValueError(f"goes_on: must be from 0 to 1, not {self.goes_on}")


@register("beginning")
class Beginning(Task):
    """What is the first line of a composition's solution? For warm starts that may know no more than that."""

    options_type = BeginningOptions
    options: BeginningOptions

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operations, letters = draw(random, random.randint(2, self.options.most))
        first = worked(operations[0], letters)[0]
        goes_on = random.random() < self.options.goes_on
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{operations}{letters}\n",
            entry={"answer": first},
            solution=f"{first}\n{operations[1]}" if goes_on else first,
            solution_ends=not goes_on,
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        first = extract.clean(answer).partition("\n")[0].strip()
        return Verdict(reward=float(first == problem.entry["answer"]), found=_LINE.fullmatch(first) is not None)


@dataclass(kw_only=True, slots=True)
class StepOptions:
    """There is nothing to choose."""


@register("step")
class Step(Task):
    """What is left of a line's letters after one operation, whatever operation the line begins with?"""

    options_type = StepOptions
    options: StepOptions

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operation, letters = draw(random, 1)
        other = random.choice([each for each in OPERATIONS if each != operation])
        left = OPERATIONS[operation](letters)
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{other}{letters}\n{operation}",
            entry={"answer": left},
            solution=left,
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        left = extract.clean(answer).strip()
        return Verdict(reward=float(left == problem.entry["answer"]), found=_RUN.fullmatch(left) is not None)
