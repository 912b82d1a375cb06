"""Exact intervals against binomial tails in rational arithmetic, and how often they cover."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from prorl_mega.evaluation.solve_rate import at_least, at_most, beta_quantile, clopper_pearson, posterior

COUNTS = [(1, 0), (1, 1), (16, 3), (100, 99), (256, 0), (256, 2), (256, 200), (1024, 1), (1024, 700), (1024, 1023)]


BITS = 60


def reaches(samples: int, least: int, rate: int, probability: Fraction) -> bool:
    """Whether P(Binomial(samples, rate / 2^60) ≥ least) ≥ probability, in whole numbers."""
    rest = (1 << BITS) - rate
    tail = sum(
        math.comb(samples, count) * rate**count * rest ** (samples - count) for count in range(least, samples + 1)
    )
    return tail * probability.denominator >= probability.numerator << (BITS * samples)


def root(samples: int, least: int, probability: Fraction) -> float:
    """The rate at which the tail has `probability`, to 2^-60."""
    low, high = 0, 1 << BITS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(samples, least, middle, probability) else (middle, high)
    return high / (1 << BITS)


@pytest.mark.parametrize(("samples", "solved"), [each for each in COUNTS if each[0] <= 256])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9999])
def test_clopper_pearson_against_exact_tails(samples: int, solved: int, confidence: float) -> None:
    error = (1 - Fraction(confidence)) / 2
    low = root(samples, solved, error) if solved else 0.0
    high = root(samples, solved + 1, 1 - error) if solved < samples else 1.0
    interval = clopper_pearson(samples, solved, confidence)
    assert interval.low == pytest.approx(low, rel=1e-12, abs=1e-12)
    assert interval.high == pytest.approx(high, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("samples", "solved"), COUNTS)
def test_ends_without_misses_and_hits_are_the_formulas(samples: int, solved: int) -> None:
    assert at_most(samples, 0, 0.025) == pytest.approx(-math.expm1(math.log(0.025) / samples), rel=1e-12)
    assert at_least(samples, samples, 0.025) == pytest.approx(0.025 ** (1 / samples), rel=1e-12)
    interval = clopper_pearson(samples, solved)
    assert interval.low <= solved / samples <= interval.high
    mirrored = clopper_pearson(samples, samples - solved)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)


@pytest.mark.parametrize(("samples", "solved"), COUNTS)
def test_the_posterior_is_that_of_a_uniform_prior(samples: int, solved: int) -> None:
    found = posterior(samples, solved, 0.9)
    assert found.mean == (solved + 1) / (samples + 2)
    assert found.low < found.mean < found.high
    assert beta_quantile(1, 1, 0.3) == pytest.approx(0.3, abs=1e-15)


def test_the_interval_covers_at_least_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    for rate in (0.001, 0.02, 0.5, 0.97):
        draws = random.binomial(256, rate, size=1000)
        intervals = {int(solved): clopper_pearson(256, int(solved), 0.9) for solved in np.unique(draws)}
        covered = np.mean([intervals[int(solved)].low <= rate <= intervals[int(solved)].high for solved in draws])
        assert covered >= 0.9 - 3 * math.sqrt(0.9 * 0.1 / 1000)


@pytest.mark.parametrize(("samples", "solved", "confidence"), [(4, 5, 0.9), (4, -1, 0.9), (0, 0, 0.9), (4, 2, 1.0)])
def test_misuse(samples: int, solved: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be between"):
        clopper_pearson(samples, solved, confidence)
