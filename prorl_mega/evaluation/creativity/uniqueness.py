"""L-uniqueness and the Creativity Index, from the lengths of matches.

A word is in a run of at least L words of the corpus exactly if a match that begins at it or before it, and is at least
L long, reaches it. DJ Search counts the same words: each of its runs is a match that cannot be made longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHORTEST, LONGEST = 5, 12
RANGE = range(SHORTEST, LONGEST + 1)  # L
QUOTED = 5  # words of a run that is taken to be quoted from the prompt


class Run(NamedTuple):
    """A run of words of a text that the corpus has, and that cannot be made longer: words `start` to `end − 1`."""

    start: int
    end: int


def coverage(lengths: np.ndarray) -> np.ndarray:
    """How many L of the range cover each word: [W] int, 0 for a word in no run of 5, 8 for one in a run of 12 words.

    lengths [W]: longest match from each word on; no match may go beyond the end of its text.
    """
    position = np.arange(len(lengths), dtype=np.int64)
    covered = np.zeros(len(lengths), np.int64)
    for least in RANGE:
        reach = np.maximum.accumulate(np.where(lengths >= least, position + lengths, 0))
        covered += reach > position
    return covered


def uniqueness(covered: np.ndarray) -> np.ndarray:
    """uniq(x, L) for each L of the range, [8], of a text with one word or more; `covered` [W] as `coverage` has it."""
    most = np.arange(len(RANGE))  # a word that the first c of the range cover is unique for the others
    return np.asarray((covered[:, None] <= most).mean(axis=0))


def runs(lengths: np.ndarray) -> list[Run]:
    """The runs of 5 words or more that cannot be made longer, in order; two may overlap. lengths [W]."""
    ends = np.arange(len(lengths)) + lengths
    before = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]]) if len(lengths) else ends
    starts = np.flatnonzero((lengths >= SHORTEST) & (ends > before))
    return [Run(int(start), int(ends[start])) for start in starts]


def quoted(text: Sequence[str], prompt: Sequence[str]) -> np.ndarray:
    """Whether each word of a text is in a run of at least 5 words that its prompt has: [W] bool."""
    found = np.zeros(len(text), bool)
    known = set(_runs_of(prompt))
    if known:
        for start, run in enumerate(_runs_of(text)):
            if run in known:
                found[start : start + QUOTED] = True
    return found


def _runs_of(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(QUOTED)), strict=False))
