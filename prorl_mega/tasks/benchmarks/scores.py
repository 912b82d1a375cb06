"""The results of an evaluation by benchmark and domain, each by its headline number, as tables of papers have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prorl_mega.config.schema import TaskConfig
from prorl_mega.tasks.benchmarks.benchmark import Headline
from prorl_mega.tasks.benchmarks.domains import domain_of, headline_of
from prorl_mega.types import Metrics

AVERAGE = "average"


@dataclass(kw_only=True, slots=True, frozen=True)
class BenchmarkScore:
    """One result; `entry` is AVERAGE for the unweighted mean over the entries of a domain."""

    domain: str
    entry: str
    headline: Headline
    value: float  # from 0 to 1; NaN where nothing was judged


def benchmark_scores(metrics: Metrics, mixture: Mapping[str, TaskConfig]) -> list[BenchmarkScore]:
    """The scores of the entries that `metrics` (of `evaluation/summary.py`) has, by domain, then its average.

    A domain of one entry has no average. Binary and continuous results are never averaged with each other.
    """
    by_domain: dict[str, list[BenchmarkScore]] = {}
    for entry, config in mixture.items():
        domain, headline = domain_of(entry, config), headline_of(entry, config)
        if (value := metrics.get(f"evaluation/{headline}/{entry}")) is not None:
            score = BenchmarkScore(domain=domain, entry=entry, headline=headline, value=value)
            by_domain.setdefault(domain, []).append(score)
    for domain, scores in by_domain.items():
        if len(scores) > 1:
            known = [score.value for score in scores if not math.isnan(score.value)]
            value = sum(known) / len(known) if len(known) == len(scores) else math.nan
            headline = scores[0].headline
            scores.append(BenchmarkScore(domain=domain, entry=AVERAGE, headline=headline, value=value))
    return [score for scores in by_domain.values() for score in scores]


def benchmark_lines(scores: list[BenchmarkScore]) -> list[str]:
    """The scores as lines of a table, in percent: "math  aime24  pass@1  48.13"."""
    rows = [(score.domain, score.entry, score.headline.value, f"{100 * score.value:6.2f}") for score in scores]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in rows]
