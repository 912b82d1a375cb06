"""maj@k: the majority vote against elections that are counted one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from prorl_mega.evaluation.majority import majority, majority_at_k


def by_hand(answers: Sequence[str], rewards: Sequence[float], k: int) -> Fraction:
    """The mean over all subsets, with one dictionary per election."""
    right = {answer: reward >= 1 for answer, reward in zip(answers, rewards, strict=True)}
    outcomes = []
    for subset in itertools.combinations(answers, k):
        votes = Counter(answer for answer in subset if answer)
        most = max(votes.values(), default=0)
        winners = [answer for answer, count in votes.items() if count == most]
        outcomes.append(Fraction(sum(right[each] for each in winners), len(winners)) if winners else Fraction(0))
    return sum(outcomes, Fraction(0)) / len(outcomes)


@pytest.mark.parametrize(
    ("answers", "rewards", "expected"),
    [
        (["7", "7", "8"], [1, 1, 0], 1.0),
        (["7", "8", "8"], [1, 0, 0], 0.0),
        (["7", "8"], [1, 0], 0.5),
        (["7", "8", "9"], [1, 0, 0], 1 / 3),
        (["7", "8", "7", "8", "9"], [1, 0, 1, 0, 0], 0.5),
        (["", "", "", "7"], [0, 0, 0, 1], 1.0),
        (["", "", ""], [0, 0, 0], 0.0),
        (["", ""], [1, 1], 0.0),
        (["7"], [0.9], 0.0),
        (["7"], [1.0], 1.0),
        (["7", "7"], [1 - 1e-9, 1.5], 1.0),
    ],
)
def test_the_most_frequent_answer_wins_and_ties_count_in_part(
    answers: list[str], rewards: list[float], expected: float
) -> None:
    assert majority(answers, rewards) == pytest.approx(expected)


def test_smaller_k_is_the_mean_over_all_subsets() -> None:
    answers = ["7", "8", "7", "9", "", "7", "8", "8"]
    rewards = [float(answer == "7") for answer in answers]
    for k in range(1, len(answers) + 1):
        assert majority_at_k(answers, rewards, k) == pytest.approx(float(by_hand(answers, rewards, k))), k


def test_the_estimate_is_unbiased_and_always_the_same() -> None:
    random = np.random.default_rng(1)
    answers = [str(number) for number in random.choice(5, size=14, p=[0.35, 0.3, 0.15, 0.1, 0.1])]
    rewards = [float(answer == "0") for answer in answers]
    for k in (3, 5, 6):
        exact = float(by_hand(answers, rewards, k))
        estimates = [majority_at_k(answers, rewards, k, seed=seed, draws=64) for seed in range(150)]
        error = np.std(estimates) / len(estimates) ** 0.5
        assert error > 0, "random subsets"
        assert abs(np.mean(estimates) - exact) < 4 * error, k
        assert majority_at_k(answers, rewards, k) == majority_at_k(answers, rewards, k)
        assert abs(majority_at_k(answers, rewards, k) - exact) < 0.12


def test_many_samples_with_many_answers_vote_as_well() -> None:
    answers = [*["right"] * 300, *["wrong"] * 200, *(f"other {number}" for number in range(524))]
    rewards = [float(answer == "right") for answer in answers]
    assert majority(answers, rewards) == 1.0
    curve = [majority_at_k(answers, rewards, k) for k in (1, 16, 64, 256)]
    assert curve == sorted(curve)
    assert curve[0] == pytest.approx(300 / 1024, abs=0.1)
    assert curve[-1] > 0.95


@pytest.mark.parametrize("k", [0, 3])
def test_k_has_to_be_a_number_of_samples(k: int) -> None:
    with pytest.raises(ValueError, match="must be between 1 and samples=2"):
        majority_at_k(["7", "8"], [1, 0], k)
    with pytest.raises(ValueError, match="2 answers and 1 rewards"):
        majority_at_k(["7", "8"], [1], 1)
