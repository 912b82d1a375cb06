"""The rate at which a model solves one problem, from a number of samples: exact intervals.

The Clopper-Pearson interval contains the true rate at least as often as it says, whatever the rate is: its lower end is
the rate at which as many right samples or more would come up with probability α/2, its upper end the rate at which as
many or fewer would (Clopper and Pearson, Biometrika 26, 1934). The posterior starts from a uniform prior.

Both need quantiles of Beta distributions with whole parameters, which are binomial tails:
P(Beta(a, b) ≤ p) = P(Binomial(a + b − 1, p) ≥ a).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class RateInterval(NamedTuple):
    """Ends of an interval for a rate."""

    low: float
    high: float


class Posterior(NamedTuple):
    """Mean of a rate and the ends of its interval with equal tails."""

    mean: float
    low: float
    high: float


def clopper_pearson(samples: int, solved: int, confidence: float = 0.95) -> RateInterval:
    """The exact interval for a rate of which `solved` of `samples` came out. ValueError for impossible counts."""
    tail = (1 - _checked(samples, solved, confidence)) / 2
    return RateInterval(low=at_least(samples, solved, tail), high=at_most(samples, solved, tail))


def at_least(samples: int, solved: int, error: float) -> float:
    """The lower bound that the true rate exceeds but with probability `error`; 0 where none was solved."""
    return beta_quantile(solved, samples - solved + 1, error) if solved else 0.0


def at_most(samples: int, solved: int, error: float) -> float:
    """The upper bound that the true rate stays below but with probability `error`; 1 where all were solved."""
    return _quantile(solved + 1, samples - solved, error, False) if solved < samples else 1.0


def posterior(samples: int, solved: int, confidence: float = 0.95) -> Posterior:
    """The rate after the samples, with a uniform prior: Beta(solved + 1, samples − solved + 1)."""
    tail = (1 - _checked(samples, solved, confidence)) / 2
    right, wrong = solved + 1, samples - solved + 1
    return Posterior(
        mean=right / (right + wrong),
        low=beta_quantile(right, wrong, tail),
        high=_quantile(right, wrong, tail, False),
    )


def beta_quantile(a: int, b: int, probability: float) -> float:
    """The p with P(Beta(a, b) ≤ p) = `probability`, for whole a, b ≥ 1, to the last digits of a double."""
    is_lower = probability <= 0.5
    return _quantile(a, b, probability if is_lower else 1 - probability, is_lower)


@lru_cache(maxsize=1 << 16)
def _quantile(a: int, b: int, wanted: float, is_lower: bool) -> float:
    """The p above which, or with `is_lower` below which, lies the share `wanted` of Beta(a, b).

    Newton's method on the logarithm of that tail, which is nearly straight where the tail is small; the bracket is
    halved where a step would leave it.
    """
    trials = a + b - 1
    low, high, rate = 0.0, 1.0, a / (a + b)
    while low < rate < high:
        terms, least = _terms(trials, rate), a
        tail = float(terms[least:].sum() if is_lower else terms[:least].sum())
        if (tail < wanted) == is_lower:
            low = rate
        else:
            high = rate
        slope = least / rate * float(terms[least]) * (1 if is_lower else -1)
        step = -tail * math.log(tail / wanted) / slope if tail > 0 and slope else math.inf
        if abs(step) <= 2 * math.ulp(rate):
            break
        rate = rate + step if low < rate + step < high else (low + high) / 2
    return rate


def _terms(trials: int, rate: float) -> np.ndarray:
    """P(Binomial(trials, rate) = 0, 1, …, trials), 0 < rate < 1: relative to the largest one, divided by their sum.

    Neither factorials nor differences occur, so every term has all its digits.
    """
    mode = min(int((trials + 1) * rate), trials)
    odds = rate / (1 - rate)
    up = np.arange(mode, trials)
    down = np.arange(mode, 0, -1)
    above = np.cumprod((trials - up) / (up + 1) * odds)
    below = np.cumprod(down / (trials - down + 1) / odds)
    terms = np.concatenate((below[::-1], [1.0], above))
    return np.asarray(terms / terms.sum())


def _checked(samples: int, solved: int, confidence: float) -> float:
    if not 0 <= solved <= samples or samples < 1:
        raise ValueError(f"solved={solved} must be between 0 and samples={samples}, of which there must be some")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1")
    return confidence
