"""Scored groups from bare rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prorl_mega.types import Completion, FinishReason, Group, Outcome, Problem, Sample, Verdict


def scored_group(
    rewards: Sequence[float | None],
    *,
    key: str = "t/0",
    task: str = "t",
    lengths: list[int] | None = None,
    limit: int = 1000,
) -> Group:
    """A group whose samples got `rewards`; None is an infrastructure error. `limit` tokens are truncated.

    Tokens of sample i are all i, so that samples can be told apart.
    """
    lengths = [3] * len(rewards) if lengths is None else lengths
    samples = []
    for index, (reward, length) in enumerate(zip(rewards, lengths, strict=True)):
        completion = Completion(
            tokens=np.full(length, index, dtype=np.int32),
            logprobs=np.full(length, -0.1 * index, dtype=np.float32),
            finish=FinishReason.LENGTH if length >= limit else FinishReason.STOP,
            version=7,
        )
        verdict = Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR) if reward is None else Verdict(reward=reward)
        samples.append(Sample(completion=completion, text=f"answer {index}", verdict=verdict))
    problem = Problem(key=key, task=task, prompt=f"question {key}")
    return Group(problem=problem, prompt_tokens=np.array([100, 101], dtype=np.int32), samples=samples)
