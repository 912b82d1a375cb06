"""Clip-Cov: a few of the tokens that cost most entropy do not count (arXiv 2505.22617, section 4.2).

A step of the policy gradient changes entropy by about −η Cov(log π(y), A): what is likely and better than expected
becomes more likely. A small share of the tokens makes most of the covariance. Of the N tokens of a step

    cov_i = (log π(y_i) − mean) (A_i − mean)

⌊clip_cov · N⌋ of those with cov_i in [clip_cov_low, clip_cov_high] are drawn, all alike, and get no gradient from the
surrogate: their advantage becomes 0. The log-probabilities are the sampler's, so it needs no pass of the learner; the
draw follows from the tokens themselves, so it is the same on every rank, in every layout and after a resume.
The paper's KL-Cov, a penalty on the distance from the policy of the step's start, has no gradient in the first update
of a step, and is not here.
"""

from __future__ import annotations

import zlib

import numpy as np

from prorl_mega.config.recipe import PolicyLossConfig
from prorl_mega.types import Metrics, TrainSample


def clip_covariance(sequences: list[TrainSample], settings: PolicyLossConfig) -> Metrics:
    """Set the advantage of the drawn tokens to 0; those sequences get an advantage per token."""
    if not settings.clip_cov or not sequences:
        return {}
    covariances = token_covariances(sequences)
    inside = (covariances >= settings.clip_cov_low) & (covariances <= settings.clip_cov_high)
    candidates = np.flatnonzero(inside)
    count = min(int(settings.clip_cov * len(covariances)), len(candidates))
    chosen = np.zeros(len(covariances), dtype=bool)
    chosen[np.random.default_rng(_fingerprint(sequences)).choice(candidates, size=count, replace=False)] = True
    start = 0
    for sequence in sequences:
        drawn = chosen[start : start + sequence.completion_length]
        if drawn.any():
            sequence.advantage = np.where(drawn, 0.0, sequence.advantage)
        start += sequence.completion_length
    return {"policy/covariance": float(covariances.mean()), "policy/clipped_covariance": count / len(covariances)}


def token_covariances(sequences: list[TrainSample]) -> np.ndarray:
    """`[tokens]` float64 of all completions end to end: each token's part of Cov(log π, A)."""
    logprobs = np.concatenate([each.rollout_logprobs.astype(np.float64) for each in sequences])
    advantages = np.concatenate([np.broadcast_to(each.advantage, each.completion_length) for each in sequences])
    return (logprobs - logprobs.mean()) * (advantages - advantages.mean())


def _fingerprint(sequences: list[TrainSample]) -> int:
    """A number that tells these tokens from others."""
    checksum = 0
    for each in sequences:
        checksum = zlib.crc32(np.ascontiguousarray(each.tokens, dtype="<i4").tobytes(), checksum)
    return checksum
