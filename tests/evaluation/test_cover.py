"""Cover@τ in rational arithmetic, and its relation to pass@k."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from prorl_mega.evaluation.cover import TAUS, cover_at, cover_curve

COUNTS = [(10, 7), (10, 3), (1000, 1), (4, 0), (3, 3), (256, 26), (10, 1), (100, 29)]


@pytest.mark.parametrize("tau", [*TAUS, 0.7, 0.3, 0.29, 1 / 3])
def test_against_a_count_by_hand(tau: float) -> None:
    least = Fraction(str(tau))
    assert cover_at(COUNTS, tau) == sum(c >= least * n for n, c in COUNTS) / len(COUNTS)


def test_seven_of_ten_reach_seven_tenths() -> None:
    assert cover_at([(10, 7)], 0.7) == 1.0
    assert cover_at([(100, 29)], 0.29) == 1.0
    assert cover_at([(100, 28)], 0.29) == 0.0


def test_the_curve_has_the_value_at_every_threshold() -> None:
    curve = cover_curve(COUNTS)
    assert [tau for tau, _ in curve] == sorted({c / n for n, c in COUNTS if c})
    for tau in np.linspace(0.001, 1, 97):
        following = [share for step, share in curve if step >= tau]
        assert cover_at(COUNTS, float(tau)) == (following[0] if following else 0.0)


def test_pass_at_k_is_its_mean_under_a_beta_distribution() -> None:
    """With rates that are known: E over τ ~ Beta(1, k) of Cover@τ is the mean of 1 − (1 − ρ)^k."""
    k, edge, total = 5, 0.0, 0.0
    for tau, share in cover_curve(COUNTS):
        total += share * ((1 - edge) ** k - (1 - tau) ** k)
        edge = tau
    assert total == pytest.approx(np.mean([1 - (1 - c / n) ** k for n, c in COUNTS]), abs=1e-12)


@pytest.mark.parametrize(("counts", "tau"), [(COUNTS, 0.0), (COUNTS, 1.1), ([], 0.5)])
def test_misuse(counts: list[tuple[int, int]], tau: float) -> None:
    with pytest.raises(ValueError, match=r"tau|no problems"):
        cover_at(counts, tau)
