"""pass@k: the probability that at least one of k samples of a problem is correct.

The unbiased estimator from n ≥ k samples of which c are correct (Chen et al., arXiv 2107.03374):

    pass@k = 1 − C(n − c, k) / C(n, k) = 1 − Π_{i = n−c+1}^{n} (1 − k / i)

The product never forms the huge binomials and has no cancellation. Over several problems it is the mean; its interval
is a percentile bootstrap over the problems, because samples of one problem are not independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean over problems with the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def pass_at_k(samples: int, solved: int, k: int) -> float:
    """Estimate for one problem from `solved` correct ones among `samples`. ValueError unless 1 ≤ k ≤ samples."""
    if not 0 <= solved <= samples:
        raise ValueError(f"solved={solved} must be between 0 and samples={samples}")
    if not 1 <= k <= samples:
        raise ValueError(f"k={k} must be between 1 and samples={samples}: more samples are needed for a larger k")
    return float(_by_solved(samples, k)[solved])


def passes(counts: Sequence[tuple[int, int]] | np.ndarray, k: int) -> np.ndarray:
    """pass@k of every problem, `[problems]` float64, each (samples, solved) with samples ≥ k; ValueError otherwise."""
    numbers = np.asarray(counts, dtype=np.int64).reshape(len(counts), 2)
    samples, solved = numbers[:, 0], numbers[:, 1]
    for place in np.flatnonzero((solved < 0) | (solved > samples) | (samples < k) | (k < 1))[:1].tolist():
        pass_at_k(int(samples[place]), int(solved[place]), k)  # says what is wrong
    values = np.empty(len(counts))
    for size in np.unique(samples).tolist():
        of_size = samples == size
        values[of_size] = _by_solved(size, k)[solved[of_size]]
    return values


@lru_cache(maxsize=512)
def _by_solved(samples: int, k: int) -> np.ndarray:
    """pass@k for 0, 1, …, `samples` solved, `[samples + 1]`: one factor of the product more at every step.

    The factor of i = k is zero and stays so: any k samples contain a correct one.
    """
    factors = np.maximum(1 - k / np.arange(samples, 0, -1, dtype=np.float64), 0)
    values = 1 - np.concatenate(([1.0], np.cumprod(factors)))
    values.flags.writeable = False
    return values


def most_at_k(second: float, k: int) -> float:
    """The largest E[pass@k] that problems with E[pass@2] = `second` can have, k ≥ 2 (arXiv 2505.24864, eq. 5).

    With ρ the rate of a problem, E[pass@k] ≤ 1 − ((1 − E[ρ])² + Var ρ)^{k/2} by Jensen's inequality. What stands in the
    brackets is E[(1 − ρ)²] = 1 − E[pass@2], which pass@2 estimates without bias from a finite number of samples.
    """
    if k < 2:
        raise ValueError(f"k={k} must be at least 2: the bound says nothing about pass@1")
    return 1 - (1 - second) ** (k / 2)


def mean_pass_at_k(
    counts: Sequence[tuple[int, int]], k: int, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """pass@k over problems, each (samples, solved) with samples ≥ k. ValueError when there is no problem."""
    return bootstrap(passes(counts, k), confidence=confidence, resamples=resamples, seed=seed)


def bootstrap(
    values: Sequence[float] | np.ndarray, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Mean of one value per problem with its percentile interval; the same input gives the same interval."""
    observed = np.asarray(values, dtype=np.float64)[None]
    return bootstrap_rows(observed, confidence=confidence, resamples=resamples, seed=seed)[0]


def bootstrap_rows(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> list[Estimate]:
    """`bootstrap` of every row of `values` `[rows, problems]`, with the same resampled problems for all rows."""
    problems = values.shape[1]
    if not problems:
        raise ValueError("a mean over no problems does not exist")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1")
    tail = (1 - confidence) / 2
    means = occurrences(problems, resamples, seed) @ values.T / problems
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return [Estimate(*each) for each in zip(values.mean(axis=1).tolist(), low.tolist(), high.tolist(), strict=True)]


@lru_cache(maxsize=2)
def occurrences(problems: int, resamples: int, seed: int) -> np.ndarray:
    """`[resamples, problems]` float64: how often each problem occurs among as many that are drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    counts = drawn.astype(np.float64)
    counts.flags.writeable = False
    return counts
