"""Overlap of training prompts with evaluation sets.

Two prompts overlap if they share a run of `size` words (13, as in the report on GPT-3, arXiv 2005.14165, appendix C),
or if they differ only in case and layout, which is the only way for prompts shorter than a run. A run that occurs in
more than `common` prompts of the evaluation sets is common wording ("You are given an array of integers ...") and does
not count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prorl_mega.data.words import normalised, words

RUN, COMMON = 13, 10
_MANY = -1  # instead of a prompt's number, for common wording


@dataclass(slots=True, frozen=True)
class Overlap:
    place: str  # place of the evaluation row
    text: str  # what both prompts share
    whole: bool  # whether the prompts are the same


class EvaluationSet:
    """All runs of words of the evaluation prompts."""

    def __init__(self, size: int = RUN, common: int = COMMON) -> None:
        self._size, self._common = size, common
        self._places: list[str] = []
        self._whole: dict[str, int] = {}
        self._runs: dict[int, int] = {}  # hash of a run: number of the first prompt with it
        self._uses: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, prompt: str, place: str) -> None:
        number = len(self._places)
        self._places.append(place)
        self._whole.setdefault(normalised(prompt), number)
        for run in {hash(run) for run in _runs(words(prompt), self._size)}:
            self._uses[run] += 1
            self._runs[run] = self._runs.get(run, number) if self._uses[run] <= self._common else _MANY

    def find(self, prompt: str) -> Overlap | None:
        """The first evaluation prompt that the prompt overlaps with; None if there is none."""
        whole = normalised(prompt)
        if whole in self._whole:
            return Overlap(self._places[self._whole[whole]], whole, whole=True)
        for run in _runs(words(prompt), self._size):
            number = self._runs.get(hash(run), _MANY)
            if number != _MANY:
                return Overlap(self._places[number], " ".join(run), whole=False)
        return None


def _runs(parts: list[str], size: int) -> list[tuple[str, ...]]:
    """All runs of `size` words, in order. Hashes of tuples of texts have 64 bits: chance hits do not happen."""
    return list(zip(*(parts[start:] for start in range(size)), strict=False))
