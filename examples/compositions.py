"""A skill and its parts: operations on four letters, one at a time or composed. The tasks of `make boundary`.

    python -m prorl_mega.tasks show --module examples/compositions.py composition depth=3
    python -m prorl_mega.tasks check --module examples/compositions.py step

`composition` gives operations and letters, `RLU.abcd`: reverse, rotate, then shift each letter. A worked solution has a
line per operation, its letter and what is left of the letters, and a full stop: `Rdcba`, `Lcbad`, `Udcbe`, `.`. The
line above the full stop is the answer. The parts are `beginning`, the first line; `next`, which operation comes after
some lines, or whether it is the end; `step`, an operation on the letters of the line above. The lines that `next` and
`step` give have random letters: no text of the parts does an operation on the result of another one. With `width=9` all
problems are as long as the longest, `RLU......abcd`, and a line of a solution stands at the same place in each.
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
END = "."
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


def check_width(width: int) -> None:
    """Raise ValueError for one that is longer than all operations and a full stop."""
    if not 0 <= width <= len(OPERATIONS) + 1:
        raise ValueError(f"width: must be from 0 to {len(OPERATIONS) + 1}, not {width}")


@dataclass(kw_only=True, slots=True)
class CompositionOptions:
    """How many operations a problem has, all different; so the letter of one says where in the problem it stands.

    Full stops fill the operations up to `width` signs; there is one at least.
    """

    depth: int = 2
    width: int = 0

    def __post_init__(self) -> None:
        check_width(self.width)
        if not 1 <= self.depth <= len(OPERATIONS):
            raise ValueError(f"depth: must be from 1 to {len(OPERATIONS)}, not {self.depth}")


def random_letters(random: Random) -> str:
    """Four of them, with repetitions."""
    return "".join(random.choices(LETTERS, k=LENGTH))


def draw(random: Random, depth: int) -> tuple[str, str]:
    """Operations and letters of a problem without a short cut."""
    while True:
        operations = "".join(random.sample(list(OPERATIONS), depth))
        letters = random_letters(random)
        if not has_short_cut(operations, letters):
            return operations, letters


def worked(operations: str, letters: str) -> list[str]:
    """The lines of a worked solution."""
    return ["".join(line) for line in zip(operations, chain(operations, letters), strict=True)]


def statement(operations: str, letters: str, width: int) -> str:
    """The prompt of a problem. A full stop follows the last operation, so that to end is to copy one more sign."""
    return f"{(operations + END).ljust(width, END)}{letters}\n"


def answer_line(answer: str) -> re.Match[str] | None:
    """The line before the full stop at the end, if it is an operation's letter and four letters."""
    *_, line, end = ["", "", *extract.clean(answer).strip().split("\n")]
    return _LINE.fullmatch(line) if end == END else None


@register("composition")
class Composition(Task):
    """What is left of four letters after some operations? No operation can be left out: see `has_short_cut`."""

    options_type = CompositionOptions
    options: CompositionOptions

    def problem(self, index: int, seed: int) -> Problem:
        operations, letters = draw(self.generator(index, seed), self.options.depth)
        lines = worked(operations, letters)
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=statement(operations, letters, self.options.width),
            entry={"answer": lines[-1][1:]},
            solution="\n".join([*lines, END]),
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        """The last line alone is judged: an operation's letter and the four letters that are left, then a full stop."""
        line = answer_line(answer)
        if line is None:
            return Verdict(reward=0.0, detail="no operation with four letters before a full stop", found=False)
        return Verdict(reward=float(line[1] == problem.entry["answer"]), detail=line[1])

    def readings(self, problem: Problem, answer: str) -> list[str]:
        """Any four letters that stand alone, wherever they are: as lenient as can be."""
        runs = list(dict.fromkeys(_RUN.findall(extract.clean(answer))))
        return [f"R{run}\n{END}" for run in runs[-MOST_READINGS:]]

    def canonical(self, problem: Problem, answer: str) -> str:
        line = answer_line(answer)
        return line[1] if line else ""


@dataclass(kw_only=True, slots=True)
class PartOptions:
    """A part of a problem of `least` to `most` operations, filled up to `width` signs."""

    least: int = 1
    most: int = 7
    width: int = 0

    def __post_init__(self) -> None:
        check_width(self.width)
        if not 2 <= self.most <= len(OPERATIONS):
            raise ValueError(f"most: must be from 2 to {len(OPERATIONS)}, not {self.most}")
        if not 1 <= self.least <= self.most:
            raise ValueError(f"least: must be from 1 to most={self.most}, not {self.least}")


class Part(Task):
    """A part of a solution. A worked one breaks off after it, and what an answer goes on with is not judged."""

    options_type = PartOptions
    options: PartOptions

    def score(self, problem: Problem, answer: str) -> Verdict:
        text = extract.clean(answer)
        return Verdict(reward=float(text.startswith(str(problem.entry["answer"]))), found=bool(text.strip()))


@register("beginning")
class Beginning(Part):
    """What is the first line of the solution? Half of the worked solutions go on to name the second operation."""

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operations, letters = draw(random, random.randint(max(2, self.options.least), self.options.most))
        first = worked(operations[0], letters)[0]
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=statement(operations, letters, self.options.width),
            entry={"answer": first},
            solution=f"{first}\n{operations[1]}" if random.random() < 0.5 else first,
            solution_ends=False,
        )


@register("next")
class Next(Part):
    """Which operation comes after these lines, or is it the end? The letters of the lines are random."""

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operations, letters = draw(random, random.randint(self.options.least, self.options.most))
        done = random.randint(1, len(operations))
        above = "".join(f"{each}{random_letters(random)}\n" for each in operations[:done])
        follows = f"{operations}{END}"[done]
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=statement(operations, letters, self.options.width) + above,
            entry={"answer": follows},
            solution=follows,
            solution_ends=follows == END,
        )


@register("step")
class Step(Part):
    """What does the operation leave of the letters of the line above, which are random?"""

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        operations, letters = draw(random, random.randint(max(2, self.options.least), self.options.most))
        place = random.randrange(1, len(operations))
        above = random_letters(random)
        left = OPERATIONS[operations[place]](above)
        asked = statement(operations, letters, self.options.width)
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{asked}{operations[place - 1]}{above}\n{operations[place]}",
            entry={"answer": left},
            solution=left,
            solution_ends=False,
        )
