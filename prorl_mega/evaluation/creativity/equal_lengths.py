"""Means of texts of unlike lengths, compared as if their lengths were the same: direct standardisation.

The index of a short text is larger for the same amount of copying, because the words near its ends are in fewer runs
that could match, and models differ in how long they answer, as do right answers and wrong ones. So answers are put into
classes of length, each twice as long as the one before; a mean is taken per class, and these are added up with the same
weights for all that are compared: the class's share of all their answers. Classes that one of them lacks are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from prorl_mega.evaluation.pass_at_k import Estimate

RESAMPLES = 1000


class Measured(NamedTuple):
    """Answers with one value each."""

    problem: np.ndarray  # [N] int; answers of a problem are resampled together
    words: np.ndarray  # [N] int, 1 or more
    value: np.ndarray  # [N] float


class EqualLengths(NamedTuple):
    """The means of everything that was compared, and the share of all answers in classes that could be."""

    means: list[Estimate]
    share: float


def at_equal_lengths(sets: list[Measured], *, confidence: float = 0.95, seed: int = 0) -> EqualLengths | None:
    """Means of each of the sets as if all had the same lengths; None where they have no class of length in common."""
    counts = np.stack([np.bincount(_classes(each.words), minlength=64) for each in sets])  # [sets, classes]
    common = np.flatnonzero((counts > 0).all(axis=0))
    if not len(common):
        return None
    pooled = counts[:, common].sum(axis=0)
    weights = pooled / pooled.sum()
    return EqualLengths(
        [_standardised(each, common, weights, confidence, seed) for each in sets], float(pooled.sum() / counts.sum())
    )


def _classes(words: np.ndarray) -> np.ndarray:
    return np.floor(np.log2(words)).astype(np.int64)


def _standardised(answers: Measured, common: np.ndarray, weights: np.ndarray, confidence: float, seed: int) -> Estimate:
    problems, place = np.unique(answers.problem, return_inverse=True)
    classes = _classes(answers.words)
    total, number = np.zeros((2, len(problems), 64))
    np.add.at(total, (place, classes), answers.value)
    np.add.at(number, (place, classes), 1)
    total, number = total[:, common], number[:, common]
    observed = float((total.sum(axis=0) / number.sum(axis=0)) @ weights)
    drawn = np.random.default_rng(seed).multinomial(
        len(problems), np.full(len(problems), 1 / len(problems)), size=RESAMPLES
    )
    sums, numbers = drawn @ total, drawn @ number  # [resamples, classes]
    there = numbers > 0  # a class that a resample has nobody of leaves its weight to the others
    means = np.where(there, sums / np.maximum(numbers, 1), 0)
    shared = there @ weights
    values = (means @ weights)[shared > 0] / shared[shared > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(observed, float(low), float(high))
