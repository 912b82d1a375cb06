"""Base policy against trained policy on the same held-out problems, per task, with confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000  # of the bootstrap
ALL_TASKS = "all tasks"


@dataclass(kw_only=True, slots=True, frozen=True)
class Estimate:
    """A mean over problems with the 95 % interval of a bootstrap over problems."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(kw_only=True, slots=True, frozen=True)
class Comparison:
    """One task at one k. `gain` is trained minus base, resampled in pairs."""

    task: str
    k: int
    problems: int
    base: Estimate
    trained: Estimate
    gain: Estimate


def compare(base: dict[str, Any], trained: dict[str, Any]) -> list[Comparison]:
    """For all tasks together and for each task: pass@1 and pass@k for the largest power of two that was sampled.

    Only problems that both evaluations contain count; the list is empty when there are none.
    """
    trained_by_key = {problem["key"]: problem for problem in trained["problems"]}
    pairs = [
        (problem, trained_by_key[problem["key"]]) for problem in base["problems"] if problem["key"] in trained_by_key
    ]
    pairs = [pair for pair in pairs if min(each["samples"] for each in pair) > 0]
    if not pairs:
        return []
    fewest = min(each["samples"] for pair in pairs for each in pair)
    tasks = sorted({str(problem["task"]) for problem, _ in pairs})
    rows = []
    for task in [ALL_TASKS, *tasks] if len(tasks) > 1 else tasks:
        chosen = [pair for pair in pairs if task in (ALL_TASKS, pair[0]["task"])]
        for k in dict.fromkeys((1, 2 ** int(math.log2(fewest)))):
            before = np.array([pass_at(problem["samples"], problem["solved"], k) for problem, _ in chosen])
            after = np.array([pass_at(problem["samples"], problem["solved"], k) for _, problem in chosen])
            rows.append(
                Comparison(
                    task=task,
                    k=k,
                    problems=len(chosen),
                    base=estimate(before),
                    trained=estimate(after),
                    gain=estimate(after - before),
                )
            )
    return rows


def pass_at(samples: int, solved: int, k: int) -> float:
    """Probability that at least one of k answers is right, from `solved` right ones of `samples` (arXiv 2107.03374)."""
    return 1.0 - math.comb(samples - solved, k) / math.comb(samples, k)


def estimate(values: np.ndarray) -> Estimate:
    """Mean of `[problems]` values; the resampling is seeded, so equal values give equal intervals."""
    drawn = np.random.default_rng(0).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))
