"""Clip-Cov against a slow twin, and what the draw must not depend on."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from prorl_mega.config.recipe import PolicyLossConfig
from prorl_mega.recipe.covariance import clip_covariance, token_covariances
from prorl_mega.types import TrainSample

SETTINGS = PolicyLossConfig(clip_cov=0.1, clip_cov_low=0.2, clip_cov_high=1.5)


def sequences(count: int = 12, seed: int = 0, per_token: bool = False) -> list[TrainSample]:
    dice = np.random.default_rng(seed)
    made = []
    for length in dice.integers(1, 15, count).tolist():
        advantage = dice.normal(size=length) if per_token else float(dice.normal())
        made.append(
            TrainSample(
                tokens=dice.integers(0, 50, length + 3).astype(np.int32),
                prompt_length=3,
                advantage=advantage,
                reward=0.0,
                rollout_logprobs=-dice.exponential(size=length).astype(np.float32),
                version=0,
            )
        )
    return made


def by_hand(samples: list[TrainSample]) -> list[float]:
    logprobs = [float(x) for each in samples for x in each.rollout_logprobs]
    advantages = [float(np.broadcast_to(each.advantage, len(each.rollout_logprobs))[i])
                  for each in samples for i in range(len(each.rollout_logprobs))]  # fmt: skip
    mean_logprob, mean_advantage = sum(logprobs) / len(logprobs), sum(advantages) / len(advantages)
    return [(p - mean_logprob) * (a - mean_advantage) for p, a in zip(logprobs, advantages, strict=True)]


def flat(samples: list[TrainSample]) -> np.ndarray:
    return np.concatenate([np.broadcast_to(each.advantage, each.completion_length) for each in samples])


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_drawn_tokens_are_those_of_the_definition(seed: int, per_token: bool) -> None:
    before = sequences(seed=seed, per_token=per_token)
    covariances = by_hand(before)
    np.testing.assert_allclose(token_covariances(before), covariances, rtol=1e-12)
    after = copy.deepcopy(before)
    metrics = clip_covariance(after, SETTINGS)
    changed = np.flatnonzero(flat(before) != flat(after))
    allowed = [i for i, each in enumerate(covariances) if 0.2 <= each <= 1.5]
    assert set(changed.tolist()) <= set(allowed)
    assert len(changed) == min(int(0.1 * len(covariances)), len(allowed)) > 0
    assert (flat(after)[changed] == 0).all()
    assert metrics["policy/clipped_covariance"] == len(changed) / len(covariances)
    assert metrics["policy/covariance"] == pytest.approx(np.mean(covariances))
    for old, new in zip(before, after, strict=True):
        if not per_token and np.ndim(new.advantage) == 0:
            assert new.advantage == old.advantage


def test_the_draw_follows_from_the_tokens() -> None:
    first, second = sequences(), sequences()
    clip_covariance(first, SETTINGS)
    np.random.default_rng(99).random()
    clip_covariance(second, SETTINGS)
    np.testing.assert_array_equal(flat(first), flat(second))
    other = sequences()
    other[0].tokens[0] += 1
    clip_covariance(other, SETTINGS)
    assert (flat(other) != flat(first)).any(), "other tokens, another draw"


def test_every_candidate_can_be_drawn() -> None:
    """All alike, as in the paper: not those of the highest covariance."""
    base = sequences()
    allowed = {i for i, each in enumerate(by_hand(base)) if 0.2 <= each <= 1.5}
    drawn: set[int] = set()
    for salt in range(200):
        samples = sequences()
        samples[0].tokens[0] = 1000 + salt
        before = flat(samples).copy()
        clip_covariance(samples, SETTINGS)
        drawn |= set(np.flatnonzero(before != flat(samples)).tolist())
    assert drawn == allowed


def test_without_a_share_nothing_is_touched() -> None:
    samples = sequences()
    assert clip_covariance(samples, PolicyLossConfig()) == {}
    assert all(isinstance(each.advantage, float) for each in samples)
    assert clip_covariance([], SETTINGS) == {}


def test_bounds_that_nothing_reaches_draw_nothing() -> None:
    samples = sequences()
    before = flat(samples)
    metrics = clip_covariance(samples, PolicyLossConfig(clip_cov=0.5, clip_cov_low=1e6, clip_cov_high=1e7))
    assert metrics["policy/clipped_covariance"] == 0
    np.testing.assert_array_equal(flat(samples), before)
