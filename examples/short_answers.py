"""Small questions that a language model of 135 million parameters understands and answers in a few words.

    python -m prorl_mega.tasks show examples/short_answers.py kind=sum
    python -m prorl_mega.tasks check examples/short_answers.py kind=letter

The wordings are a conversation's and ask for no form: what a small model says last counts, a number or a word. So it
is judged by what it knows, and not by whether it has learned boxes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import NamedTuple

from prorl_mega.tasks import Task, register
from prorl_mega.types import Problem, Verdict

_NOUNS = (
    "apple arm bag ball bed bell bird blue boat bone book box boy bread bus cake car cat chair clock cloud coat cold "
    "cow cup dark desk dog door dress duck egg eye face farm fire fish flag foot fox frog game girl goat gold good "
    "green hand hat hen hill home horse house ice jam key king lake lamp leaf leg lion map milk moon mouse nest night "
    "nose old pan park pen pig pond rain red ring road rock room rose salt sand ship shoe sky snow star sun table "
    "tent time tree van wall water wind wolf wood word yard zoo "
)
WORDS = tuple(_NOUNS.split())
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_NUMBER = re.compile(r"(?<![\d.,])-?\d+(?![\d]|[.,]\d)")
_LARGEST = 24  # more digits are no answer


class Kind(Enum):
    sum = "sum"  # what two numbers make
    larger = "larger"  # of two numbers
    letter = "letter"  # the first one of a word
    choice = "choice"  # the one of two words that has a given first letter


@dataclass(kw_only=True, slots=True)
class ShortAnswerOptions:
    """What is asked, and how large its numbers may be."""

    kind: Kind = Kind.sum
    largest: int = 9

    def __post_init__(self) -> None:
        if not 2 <= self.largest <= 10**9:
            raise ValueError(f"largest: must be from 2 to {10**9}, not {self.largest}")


class Question(NamedTuple):
    text: str
    answer: str


@register("short_answer")
class ShortAnswer(Task):
    """A question with a number or a word as its answer."""

    options_type = ShortAnswerOptions
    options: ShortAnswerOptions

    def problem(self, index: int, seed: int) -> Problem:
        question = ask(self.options.kind, self.options.largest, self.generator(index, seed))
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=question.text,
            entry={"kind": self.options.kind.value, "answer": question.answer},
            solution=question.answer,
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        found = read(Kind(problem.entry["kind"]), answer)
        if not found:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        return Verdict(reward=float(found == problem.entry["answer"]), detail=found[:64])

    def canonical(self, problem: Problem, answer: str) -> str:
        return read(Kind(problem.entry["kind"]), answer)


def ask(kind: Kind, largest: int, random: Random) -> Question:
    """A question of this kind with its answer."""
    first, second = random.sample(range(1, largest + 1), 2)
    word, other = random.sample(WORDS, 2)
    while other[0] == word[0]:
        other = random.choice(WORDS)
    pair = random.choice([(word, other), (other, word)])
    match kind:
        case Kind.sum:
            return Question(f"What is {first} + {second}?", str(first + second))
        case Kind.larger:
            return Question(f"Which number is larger, {first} or {second}?", str(max(first, second)))
        case Kind.letter:
            return Question(f'What is the first letter of the word "{word}"?', word[0])
        case Kind.choice:
            return Question(f'Which word begins with the letter "{word[0]}": {pair[0]} or {pair[1]}?', word)


def read(kind: Kind, text: str) -> str:
    """The answer that a text gives to a question of this kind, its last number or word; "" if it gives none."""
    if kind in (Kind.sum, Kind.larger):
        numbers = [number for number in _NUMBER.findall(text) if len(number) <= _LARGEST]
        return str(int(numbers[-1])) if numbers else ""
    words = _WORD.findall(text)
    return words[-1].lower() if words else ""
