"""Metrics of scored groups of held-out problems.

evaluation/pass@k             k = 1, 2, 4, … up to the number of samples, and that number
evaluation/pass@k_low, _high  95 % interval over problems, for the smallest and the largest k
evaluation/reward             mean over problems of their mean reward
evaluation/length, evaluation/truncated    tokens per completion, share that hit the limit
evaluation/problems, evaluation/infra_errors    problems in the means, samples without a verdict
evaluation/<name>/<task>      pass@k, reward, length and truncated for one task
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from prorl_mega.evaluation.pass_at_k import mean_pass_at_k, pass_at_k
from prorl_mega.types import FinishReason, Group, Metrics

SOLVED = 1 - 1e-6  # rewards from here on are full marks


def summarise(groups: list[Group]) -> Metrics:
    """Metrics over all tasks and per task; NaN where infrastructure errors left nothing to average."""
    metrics = {f"evaluation/{name}": value for name, value in _summary(groups).items()}
    for name, (low, high) in _intervals(groups).items():
        metrics |= {f"evaluation/{name}_low": low, f"evaluation/{name}_high": high}
    for task in sorted({group.problem.task for group in groups}):
        of_task = _summary([group for group in groups if group.problem.task == task])
        metrics |= {
            f"evaluation/{name}/{task}": value
            for name, value in of_task.items()
            if name not in ("problems", "infra_errors")
        }
    return metrics


def problem_records(groups: list[Group]) -> list[dict[str, Any]]:
    """One JSON-able record per problem, in order: counts, mean reward (None without a verdict) and the first answer."""
    records = []
    for group in groups:
        rewards = group.rewards()
        records.append(
            {
                "key": group.problem.key,
                "task": group.problem.task,
                "samples": len(rewards),
                "solved": _solved(rewards),
                "mean_reward": float(np.mean(rewards)) if rewards else None,
                "prompt": group.problem.prompt,
                "completion": group.samples[0].text if group.samples else "",
            }
        )
    return records


def powers_of_two(samples: int) -> Iterator[int]:
    """1, 2, 4, … up to `samples`, and `samples` itself."""
    k = 1
    while k < samples:
        yield k
        k *= 2
    if samples:
        yield samples


def _solved(rewards: list[float]) -> int:
    return sum(reward >= SOLVED for reward in rewards)


def _counts(groups: list[Group], k: int) -> list[tuple[int, int]]:
    """(samples, solved) of the problems with at least k verdicts: pass@k cannot be estimated from fewer."""
    scored = [group.rewards() for group in groups]
    return [(len(rewards), _solved(rewards)) for rewards in scored if len(rewards) >= k]


def _sizes(groups: list[Group]) -> list[int]:
    return list(powers_of_two(max((len(group.samples) for group in groups), default=0)))


def _summary(groups: list[Group]) -> Metrics:
    rewards = [group.rewards() for group in groups]
    completions = [sample.completion for group in groups for sample in group.samples]
    metrics: Metrics = {}
    for k in _sizes(groups):
        metrics[f"pass@{k}"] = _mean([pass_at_k(n, c, k) for n, c in _counts(groups, k)])
    return metrics | {
        "reward": _mean([_mean(each) for each in rewards if each]),
        "length": _mean([float(len(completion.tokens)) for completion in completions]),
        "truncated": _mean([float(completion.finish is FinishReason.LENGTH) for completion in completions]),
        "problems": float(sum(bool(each) for each in rewards)),
        "infra_errors": float(len(completions) - sum(len(each) for each in rewards)),
    }


def _intervals(groups: list[Group]) -> dict[str, tuple[float, float]]:
    sizes = _sizes(groups)
    intervals = {}
    for k in {*sizes[:1], *sizes[-1:]}:
        counts = _counts(groups, k)
        if counts:
            estimate = mean_pass_at_k(counts, k)
            intervals[f"pass@{k}"] = (estimate.low, estimate.high)
    return dict(sorted(intervals.items()))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan
