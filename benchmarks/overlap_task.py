"""The task of `benchmarks/overlap.py`: lines of letters whose lengths are log-normal, and a reward that can be learned.

The warm start shows letters at random, in lines of these lengths, so that a model's answers have about these lengths
too. The reward is whether the first letter is a vowel. A reward for all letters would change the lengths: what makes
vowels likelier makes the full stop that ends a line less likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from string import ascii_lowercase

from prorl_mega.tasks import Task, register
from prorl_mega.types import Problem, Verdict

VOWELS = "aeiou"


@dataclass(kw_only=True, slots=True)
class LinesOptions:
    """Lengths in tokens: their median, the standard deviation of their logarithm, and the longest."""

    median: float = 40.0
    sigma: float = 0.8
    longest: int = 240


@register("lines_of_letters")
class LinesOfLetters(Task):
    """A line of letters, of any length, ended by a full stop."""

    options_type = LinesOptions
    options: LinesOptions

    def problem(self, index: int, seed: int) -> Problem:
        random = self.generator(index, seed)
        length = round(random.lognormvariate(log(self.options.median), self.options.sigma))
        letters = random.choices(ascii_lowercase, k=max(1, min(length, self.options.longest)))
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"{random.randrange(10**6)}\n",
            entry={},
            solution="".join(letters) + ".",
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(reward=float(answer[:1] in tuple(VOWELS)))
