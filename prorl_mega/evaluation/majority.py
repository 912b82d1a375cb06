"""maj@k: the probability that the answer that k samples of a problem give most often is right.

Samples vote by the canonical forms of their answers (`StoredVerdict.answer`); one without such a form does not vote. Of
answers with equally many votes one is drawn, so a tie counts with its expected value; no votes are no answer. For k
below the number of samples it is the mean over subsets of k samples: over all of them where they are few, else over
random ones, the same ones at every call, which is an estimate without bias. They are blocks of random permutations,
which repeat no sample within a permutation and so vary less than subsets drawn one by one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from prorl_mega.evaluation.problem_counts import SOLVED

DRAWS = 256  # subsets, if there are more


def majority(answers: Sequence[str], rewards: Sequence[float]) -> float:
    """maj@n of the n samples of a problem, from 0 to 1: 0 or 1 but for ties. ValueError without samples."""
    return majority_at_k(answers, rewards, len(answers))


def majority_at_k(
    answers: Sequence[str], rewards: Sequence[float], k: int, *, seed: int = 0, draws: int = DRAWS
) -> float:
    """maj@k of a problem from the canonical answers ("" does not vote) and the rewards of its n ≥ k samples.

    An answer is right in the share in which its samples have full marks, all or none where the form is canonical.
    ValueError unless 1 ≤ k ≤ n.
    """
    if len(answers) != len(rewards):
        raise ValueError(f"{len(answers)} answers and {len(rewards)} rewards")
    if not 1 <= k <= len(answers):
        raise ValueError(f"k={k} must be between 1 and samples={len(answers)}: more samples are needed for a larger k")
    votes, right = _ballots(answers, rewards)
    total, count = 0.0, 0
    for subsets in _subsets(len(answers), k, seed, draws):
        outcomes = _outcomes(votes[subsets], right)
        total, count = total + float(outcomes.sum()), count + len(outcomes)
    return total / count


def _ballots(answers: Sequence[str], rewards: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The vote of every sample, a number of an answer (`[n]`), and the rightness of every answer (`[answers + 1]`).

    The last answer is none, and is not right.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(filter(None, answers)))}
    votes = np.array([names.get(answer, len(names)) for answer in answers])
    solved = np.array([reward >= SOLVED for reward in rewards], dtype=np.float64)
    sizes = np.bincount(votes, minlength=len(names) + 1)
    right = np.bincount(votes, weights=solved, minlength=len(names) + 1) / np.maximum(sizes, 1)
    right[-1] = 0.0
    return votes, right


def _subsets(samples: int, k: int, seed: int, draws: int) -> Iterator[np.ndarray]:
    """Subsets of k samples as index arrays `[subsets, k]`: all of them if they are few, else blocks of permutations."""
    if math.comb(samples, k) <= draws:
        yield np.array(list(itertools.combinations(range(samples), k)))
        return
    random, blocks = np.random.default_rng(seed), samples // k
    for _ in range(math.ceil(draws / blocks)):
        yield random.permutation(samples)[: blocks * k].reshape(blocks, k)


def _outcomes(votes: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The expected rightness of the winner of each election, from its votes `[subsets, k]`."""
    subsets, answers = len(votes), len(right)
    places = votes + answers * np.arange(subsets)[:, None]
    counts = np.bincount(places.ravel(), minlength=subsets * answers).reshape(subsets, answers)
    counts[:, -1] = 0  # who has no answer does not vote
    winners = (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)
    return (winners @ right) / np.maximum(winners.sum(axis=1), 1)
