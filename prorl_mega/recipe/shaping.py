"""Reward shaping: what is added to verdicts before advantages. Nothing by default.

For an answer of t tokens with verdict R, the response limit L, "truncated" meaning that it reached L without an end:

    termination scale   R · termination_scale when truncated     ProRL from run 4 on; public recipes use 0 to 0.1
    termination fixed   termination_reward when truncated        a negative constant, whatever the verdict
    over-long buffer    + overlong_factor · P(t)                 DAPO, arXiv 2503.14476, eq. 13
                        P = 0 up to L − buffer, then falling linearly to −1 at L; −1 when truncated
    cosine penalty      + length_weight · η(t)                   ProRL v2; Yeo et al., arXiv 2502.03373
                        η = η_min + (η_max − η_min) (1 + cos(π t / L)) / 2

ProRL v2 runs the cosine penalty in a cycle, some steps on and more off, and publishes neither η nor its weight. Ours:
η from −1 at the limit to 0 at length 0, so that no wrong answer gains; only the difference matters to estimators with a
baseline. It applies to every answer, right or wrong, as printed.

Over-long filtering (DAPO) is no shaping: such answers keep their reward and are left out of the loss
(`train_samples.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from prorl_mega.config.recipe import ShapingConfig, TerminationPenalty
from prorl_mega.types import Completion, FinishReason, Group, Metrics


def _untouched(reward: float, shaping: ShapingConfig) -> float:
    return reward


def _scaled(reward: float, shaping: ShapingConfig) -> float:
    return reward * shaping.termination_scale


def _replaced(reward: float, shaping: ShapingConfig) -> float:
    return shaping.termination_reward


WHEN_TRUNCATED: dict[TerminationPenalty, Callable[[float, ShapingConfig], float]] = {
    TerminationPenalty.none: _untouched,
    TerminationPenalty.scale: _scaled,
    TerminationPenalty.fixed: _replaced,
}


def overlong_punishment(tokens: int, limit: int, buffer: int) -> float:
    """P(t) in [−1, 0] for a buffer of at least one token and at most `limit`."""
    return -min(1.0, max(0.0, (tokens - (limit - buffer)) / buffer))


def cosine_length_reward(tokens: int, limit: int, low: float, high: float) -> float:
    """η(t) in [low, high]; longer answers than the limit count as the limit."""
    return low + (high - low) * (1 + math.cos(math.pi * min(tokens, limit) / limit)) / 2


def length_penalty_is_on(shaping: ShapingConfig, step: int) -> bool:
    """Whether the cosine penalty applies after `step` completed steps."""
    if not shaping.length_weight:
        return False
    return step % (shaping.length_on_steps + shaping.length_off_steps) < shaping.length_on_steps


def shaped_reward(reward: float, completion: Completion, shaping: ShapingConfig, step: int, limit: int) -> float:
    """The shaped reward of one answer; `limit` is the response limit it was sampled with."""
    tokens, truncated = len(completion.tokens), completion.finish is FinishReason.LENGTH
    if truncated:
        reward = min(reward, WHEN_TRUNCATED[shaping.termination](reward, shaping))  # no penalty raises a reward below 0
    if shaping.overlong_buffer:
        length = limit if truncated else tokens
        reward += shaping.overlong_factor * overlong_punishment(length, limit, shaping.overlong_buffer)
    if length_penalty_is_on(shaping, step):
        eta = cosine_length_reward(tokens, limit, shaping.length_reward_min, shaping.length_reward_max)
        reward += shaping.length_weight * eta
    return reward


def shape_rewards(groups: list[Group], shaping: ShapingConfig, step: int, limit: int) -> Metrics:
    """Set `reward` of every scored sample. Verdicts stay as they are. Empty metrics when nothing is to be shaped."""
    for group in groups:
        for sample, verdict in zip(group.scored(), group.rewards(), strict=True):
            sample.reward = shaped_reward(verdict, sample.completion, shaping, step, limit)
    shapes = shaping.termination is not TerminationPenalty.none or shaping.overlong_buffer or shaping.length_weight
    verdicts = np.array([reward for group in groups for reward in group.rewards()])
    if not shapes or not len(verdicts):
        return {}
    shaped = np.array([reward for group in groups for reward in group.shaped_rewards()])
    return {
        "reward/shaped": float(shaped.mean()),
        "reward/shaping": float((shaped - verdicts).mean()),
        "reward/length_penalty_on": float(length_penalty_is_on(shaping, step)),
    }
