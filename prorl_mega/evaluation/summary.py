"""Metrics of scored answers to held-out problems: from groups in memory, or from the counts of a store.

evaluation/pass@k             k = 1, 2, 4, … up to the number of samples, and that number
evaluation/pass@k_low, _high  95 % interval over problems, for the smallest and the largest k
evaluation/reward             mean over problems of their mean reward
evaluation/length, evaluation/truncated    tokens per completion, share that hit the limit
evaluation/problems, evaluation/infra_errors    problems in the means, samples without a verdict
evaluation/<name>/<task>      pass@k, reward, length and truncated for one task
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from prorl_mega.evaluation.pass_at_k import bootstrap, passes
from prorl_mega.evaluation.problem_counts import ProblemCounts, counts_of
from prorl_mega.evaluation.solve_rate import posterior
from prorl_mega.types import Group, Metrics

NOT_PER_TASK = {"problems", "infra_errors"}


def summarise(groups: list[Group]) -> Metrics:
    """Metrics over all tasks and per task; NaN where infrastructure errors left nothing to average."""
    return metrics_of([counts_of(group) for group in groups])


def problem_records(groups: list[Group]) -> list[dict[str, Any]]:
    """One JSON-able record per problem, in order (`record_of`)."""
    return [record_of(counts_of(group)) for group in groups]


def metrics_of(counts: Sequence[ProblemCounts]) -> Metrics:
    """Metrics over all tasks and per task; NaN where there is nothing to average."""
    metrics = {f"evaluation/{name}": value for name, value in _summary(counts).items()}
    for name, (low, high) in _intervals(counts).items():
        metrics |= {f"evaluation/{name}_low": low, f"evaluation/{name}_high": high}
    return metrics | per_task(counts, _summary)


def per_task(counts: Sequence[ProblemCounts], summary: Callable[[Sequence[ProblemCounts]], Metrics]) -> Metrics:
    """`evaluation/<name>/<task>` of what `summary` says of the problems of each task."""
    by_task: dict[str, list[ProblemCounts]] = {}
    for each in counts:
        by_task.setdefault(each.task, []).append(each)
    return {
        f"evaluation/{name}/{task}": value
        for task in sorted(by_task)
        for name, value in summary(by_task[task]).items()
        if name not in NOT_PER_TASK
    }


def record_of(counts: ProblemCounts) -> dict[str, Any]:
    """A JSON-able record of one problem: counts, mean reward (None without a verdict), the posterior of its solve rate
    (mean and the ends of the 95 % interval, from a uniform prior) and one answer."""
    return {
        "key": counts.key,
        "task": counts.task,
        "samples": counts.samples,
        "solved": counts.solved,
        "mean_reward": _mean_reward(counts) if counts.samples else None,
        **({"posterior": list(posterior(counts.samples, counts.solved))} if counts.samples else {}),
        **({} if counts.answers == counts.samples else {"answers": counts.answers}),
        "tokens": counts.tokens,
        "truncated": counts.truncated,
        **({} if counts.relaxed is None else {"relaxed": counts.relaxed}),
        **({} if counts.majority is None else {"majority": counts.majority}),
        "prompt": counts.prompt,
        "completion": counts.completion,
    }


def powers_of_two(samples: int) -> Iterator[int]:
    """1, 2, 4, … up to `samples`, and `samples` itself."""
    k = 1
    while k < samples:
        yield k
        k *= 2
    if samples:
        yield samples


def sizes(counts: Sequence[ProblemCounts]) -> list[int]:
    """The k that metrics are given for: up to the most answers of a problem."""
    return list(powers_of_two(max((each.answers for each in counts), default=0)))


def mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean, in whatever order the values are; NaN without any."""
    return math.fsum(values) / len(values) if len(values) else math.nan


def mean_pass(counts: Sequence[tuple[int, int]], k: int) -> float:
    """pass@k over the problems, each (samples, solved), that have at least k samples; NaN without any."""
    return mean(passes(enough(counts, k), k))


def enough(counts: Sequence[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    """(samples, solved) of the problems with at least k verdicts: pass@k cannot be estimated from fewer."""
    return [(samples, solved) for samples, solved in counts if samples >= k]


def _summary(counts: Sequence[ProblemCounts]) -> Metrics:
    scored = [each for each in counts if each.samples]
    of_problems = [(each.samples, each.solved) for each in scored]
    answers = sum(each.answers for each in counts)
    metrics: Metrics = {f"pass@{k}": mean_pass(of_problems, k) for k in sizes(counts)}
    return metrics | {
        "reward": mean([_mean_reward(each) for each in scored]),
        "length": sum(each.tokens for each in counts) / answers if answers else math.nan,
        "truncated": sum(each.truncated for each in counts) / answers if answers else math.nan,
        "problems": float(len(scored)),
        "infra_errors": float(answers - sum(each.samples for each in scored)),
    }


def _intervals(counts: Sequence[ProblemCounts]) -> dict[str, tuple[float, float]]:
    of_problems = [(each.samples, each.solved) for each in counts]
    of_k = sizes(counts)
    intervals = {}
    for k in {*of_k[:1], *of_k[-1:]}:
        if chosen := enough(of_problems, k):
            estimate = bootstrap(passes(chosen, k))
            intervals[f"pass@{k}"] = (estimate.low, estimate.high)
    return dict(sorted(intervals.items()))


def _mean_reward(counts: ProblemCounts) -> float:
    return mean(counts.rewards)
