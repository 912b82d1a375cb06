"""Estimates against independent implementations in rational arithmetic, to 1e-12."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from prorl_mega.evaluation.budget import Spending, pass_at_budget
from prorl_mega.evaluation.cover import cover_at, cover_curve
from prorl_mega.evaluation.pass_at_k import pass_at_k, passes
from prorl_mega.evaluation.solve_rate import clopper_pearson


def exact_pass(samples: int, solved: int, k: int) -> Fraction:
    """The share of the k-subsets of the samples with at least one that is solved."""
    return 1 - Fraction(math.comb(samples - solved, k), math.comb(samples, k))


@pytest.mark.parametrize("samples", [1, 2, 7, 16, 100, 256, 1024])
def test_pass_at_k(samples: int) -> None:
    for solved in sorted({0, 1, 2, samples // 3, samples // 2, samples - 1, samples} - {-1}):
        if solved > samples:
            continue
        for k in sorted({1, 2, samples // 2, samples - 1, samples} - {0, -1}):
            if k <= samples:
                assert abs(Fraction(pass_at_k(samples, solved, k)) - exact_pass(samples, solved, k)) <= Fraction(
                    1, 10**12
                )


def test_many_problems_at_once_with_their_own_numbers_of_samples() -> None:
    random = np.random.default_rng(0)
    samples = random.integers(8, 1025, size=300)
    counts = [(int(n), int(random.integers(0, n + 1))) for n in samples]
    for k in (1, 3, 8):
        found = passes(counts, k)
        assert all(
            abs(Fraction(value) - exact_pass(n, c, k)) <= Fraction(1, 10**12)
            for value, (n, c) in zip(found.tolist(), counts, strict=True)
        )
    for wrong in ([(4, 5)], [(8, 1), (2, 1)]):
        with pytest.raises(ValueError, match="must be between"):
            passes(wrong, 3)
    with pytest.raises(ValueError, match="k=0 must be between"):
        passes([(4, 1)], 0)


BITS = 64


def tail(samples: int, least: int, rate: Fraction) -> Fraction:
    """P(Binomial(samples, rate) ≥ least) for a rate in units of 2^-64, which all doubles from 2^-11 on nearly are."""
    whole = round(rate * (1 << BITS))
    rest = (1 << BITS) - whole
    is_short = 2 * least <= samples  # the other tail has fewer terms
    counts = range(least) if is_short else range(least, samples + 1)
    total = sum(math.comb(samples, count) * whole**count * rest ** (samples - count) for count in counts)
    if is_short:
        total = (1 << (BITS * samples)) - total
    return Fraction(total, 1 << (BITS * samples))


@pytest.mark.parametrize(
    ("samples", "solved"), [(1, 0), (1, 1), (16, 3), (256, 0), (256, 2), (256, 200), (1024, 0), (1024, 1), (1024, 700)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999999])
def test_clopper_pearson(samples: int, solved: int, confidence: float) -> None:
    """The tails fall on the two sides of α/2 within 1e-12 of the ends: so the ends are the roots to 1e-12."""
    error, step = (1 - Fraction(confidence)) / 2, Fraction(1, 10**12)
    interval = clopper_pearson(samples, solved, confidence)
    if solved:
        low = Fraction(interval.low)
        assert tail(samples, solved, low - step) < error < tail(samples, solved, low + step)
    else:
        assert interval.low == 0
    if solved < samples:
        high = Fraction(interval.high)
        assert 1 - tail(samples, solved + 1, high + step) < error < 1 - tail(samples, solved + 1, high - step)
    else:
        assert interval.high == 1


def test_cover() -> None:
    random = np.random.default_rng(1)
    counts = [(int(n), int(random.integers(0, n + 1))) for n in random.integers(1, 50, size=200)]
    for tau in (0.01, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9, 1.0):
        reached = [Fraction(c, n) >= Fraction(repr(tau)) for n, c in counts]
        assert abs(Fraction(cover_at(counts, tau)) - Fraction(sum(reached), 200)) <= Fraction(1, 10**12)
    curve = cover_curve(counts)
    assert [tau for tau, _ in curve] == sorted({c / n for n, c in counts if c})
    for tau, share in curve:
        assert share == sum(c / n >= tau for n, c in counts) / 200


def test_a_budget_by_hand() -> None:
    """Two samples and a half: half of the time two are drawn, half of the time three."""
    problems = [Spending(8, 2, 40.0), Spending(8, 0, 10.0), Spending(4, 1, 1.0), Spending(4, 4, 1000.0)]
    found = pass_at_budget(problems, 100.0)
    half = (exact_pass(8, 2, 2) + exact_pass(8, 2, 3)) / 2
    assert found.values.tolist() == pytest.approx([float(half), 0.0, 1.0, 0.1], abs=1e-12)
    assert found.bounded == 2  # of ten samples that were bought there are eight, of a hundred four
    with pytest.raises(ValueError, match="at least one token"):
        pass_at_budget([Spending(8, 2, 0.0)], 10)


def test_a_budget_is_spent_on_average() -> None:
    """Drawn as it says, the share of solved problems is the estimate, and the tokens are the budget."""
    random = np.random.default_rng(2)
    lengths = random.integers(10, 90, size=40)
    right = random.random(40) < 0.15
    budget, mean = 333.0, float(lengths.mean())
    bought = budget / mean
    solved = spent = 0.0
    draws = 20_000
    for _ in range(draws):
        k = int(bought) + (random.random() < bought - int(bought))
        chosen = random.choice(40, size=k, replace=False)
        solved += bool(right[chosen].any()) / draws
        spent += float(lengths[chosen].sum()) / draws
    estimate = pass_at_budget([Spending(40, int(right.sum()), mean)], budget).values[0]
    assert solved == pytest.approx(estimate, abs=4 * 0.5 / math.sqrt(draws))
    assert spent == pytest.approx(budget, rel=0.01)
