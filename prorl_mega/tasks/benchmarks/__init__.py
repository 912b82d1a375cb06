"""Benchmarks by name: the data sets and puzzles of ProRL's evaluation, read from files that the user has."""

from prorl_mega.tasks.benchmarks.benchmark import Benchmark, Headline
from prorl_mega.tasks.benchmarks.domains import domain_of, headline_of
from prorl_mega.tasks.benchmarks.expansion import benchmarks_alone, benchmarks_label, completed, expand, with_benchmarks
from prorl_mega.tasks.benchmarks.listing import describe
from prorl_mega.tasks.benchmarks.published import PUBLISHED
from prorl_mega.tasks.benchmarks.scores import BenchmarkScore, benchmark_lines, benchmark_scores

__all__ = [
    "PUBLISHED",
    "Benchmark",
    "BenchmarkScore",
    "Headline",
    "benchmark_lines",
    "benchmark_scores",
    "benchmarks_alone",
    "benchmarks_label",
    "completed",
    "describe",
    "domain_of",
    "expand",
    "headline_of",
    "with_benchmarks",
]  # fmt: skip
