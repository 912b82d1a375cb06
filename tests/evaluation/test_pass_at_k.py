import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.evaluation.pass_at_k import bootstrap, mean_pass_at_k, pass_at_k


def test_against_every_choice_of_k_samples() -> None:
    for samples in range(1, 8):
        for solved in range(samples + 1):
            correct = [index < solved for index in range(samples)]
            for k in range(1, samples + 1):
                choices = list(combinations(correct, k))
                share = sum(any(choice) for choice in choices) / len(choices)
                assert pass_at_k(samples, solved, k) == pytest.approx(share, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 3000), st.data())
def test_against_exact_binomials(samples: int, data: st.DataObject) -> None:
    solved, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    exact = 1 - math.comb(samples - solved, k) / math.comb(samples, k)
    assert pass_at_k(samples, solved, k) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_unbiased() -> None:
    rate, samples, k = 0.2, 12, 4
    mean = sum(
        math.comb(samples, c) * rate**c * (1 - rate) ** (samples - c) * pass_at_k(samples, c, k)
        for c in range(samples + 1)
    )
    assert mean == pytest.approx(1 - (1 - rate) ** k, rel=1e-12)


@pytest.mark.parametrize(("samples", "solved", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0), (0, 0, 1)])
def test_misuse(samples: int, solved: int, k: int) -> None:
    with pytest.raises(ValueError, match="must be between"):
        pass_at_k(samples, solved, k)


def test_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = generator.binomial(8, 0.3, size=60) / 8
        estimate = bootstrap(values.tolist(), resamples=400, seed=trial)
        assert estimate.low <= estimate.mean <= estimate.high
        covered += estimate.low <= 0.3 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_is_reproducible_and_narrows() -> None:
    counts = [(8, solved % 9) for solved in range(50)]
    assert mean_pass_at_k(counts, 2) == mean_pass_at_k(counts, 2)
    wide, narrow = mean_pass_at_k(counts, 2), mean_pass_at_k(counts * 16, 2)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(4, rel=0.3)
    certain = mean_pass_at_k([(4, 4)] * 5, 1)
    assert certain == (1.0, 1.0, 1.0)


def test_no_problems() -> None:
    with pytest.raises(ValueError, match="no problems"):
        mean_pass_at_k([], 1)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap([1.0], confidence=95)
