"""A run as a row in a comparison of several: what it was made with, how far it came, what it scored, how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.config.keys import flatten
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.evaluation.conditions import Conditions, incomparable
from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap, passes
from prorl_mega.evaluation.solve_rate import clopper_pearson
from prorl_mega.reporting.history import History, read_history
from prorl_mega.run.evaluations import FINAL
from prorl_mega.run.lock import parse_holder
from prorl_mega.run.settings import CONFIG, read_tree, with_defaults
from prorl_mega.run.summary import read_summary

SCORE = "evaluation/pass@1"
_CAUSE = 100  # characters that a table has room for
Counts = dict[str, tuple[int, int]]
"""Samples and right ones of the held-out problems by key."""


@dataclass(kw_only=True, slots=True, frozen=True)
class SweptRun:
    """`settings` are {} and `history` is None where nothing was written. Numbers are NaN where there are none."""

    directory: Path
    ended: str
    settings: dict[str, Any] = field(default_factory=dict)  # dotted; what the run did not know has its default
    history: History | None = None
    final: Counts = field(default_factory=dict)  # of the final evaluation
    conditions: Conditions = field(default_factory=dict)
    best: tuple[float, int] = (math.nan, 0)  # held-out score on the way, and its step
    last_tenth: dict[str, float] = field(default_factory=dict)  # means by metric

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def steps(self) -> int:
        return 0 if self.history is None or not len(self.history.steps) else int(self.history.steps[-1])

    @property
    def planned(self) -> int:
        return int(self.settings.get("schedule.steps", 0))

    @property
    def commit(self) -> str:
        return "" if self.history is None or not self.history.starts else str(self.history.starts[-1].get("commit", ""))

    def problem_scores(self, keys: list[str]) -> np.ndarray:
        """pass@1 of problems, `[problems]`."""
        return passes([self.final[key] for key in keys], 1)

    def score(self, keys: list[str]) -> Estimate:
        """pass@1 of these problems. With one answer to each the interval is exact (Clopper and Pearson), otherwise a
        bootstrap over the problems."""
        counts = [self.final[key] for key in keys]
        if all(samples == 1 for samples, _ in counts):
            solved = sum(right for _, right in counts)
            return Estimate(solved / len(counts), *clopper_pearson(len(counts), solved))
        return bootstrap(passes(counts, 1))


def read_swept_run(directory: Path) -> SweptRun:
    """The run in a directory. Raises ConfigError for a directory that is none, and for settings that cannot be read."""
    if not directory.is_dir():
        return SweptRun(directory=directory, ended="there is no directory: never started, or removed")
    if not (directory / CONFIG).is_file():
        return SweptRun(directory=directory, ended=_ended(directory) or f"it has no {CONFIG}: not begun")
    history = read_history(directory)
    evaluation = history.evaluations.get(FINAL, {"problems": [], "settings": {}})
    on_the_way = history.column_from_start(SCORE)
    best = int(np.nanargmax(on_the_way)) if np.isfinite(on_the_way).any() else None
    tenth = max(1, len(history.steps) // 10)
    return SweptRun(
        directory=directory,
        ended=_ended(directory) or ("finished" if evaluation["problems"] else _holder(directory)),
        settings=flatten(with_defaults(read_tree(directory / CONFIG))),
        history=history,
        final={
            str(each["key"]): (int(each["samples"]), int(each["solved"]))
            for each in evaluation["problems"]
            if each["samples"]  # of some no answer has a verdict
        },
        conditions=evaluation["settings"],
        best=(math.nan, 0) if best is None else (float(on_the_way[best]), int(history.steps_from_start()[best])),
        last_tenth={name: _mean(history.column(name)[-tenth:]) for name in LAST_TENTH},
    )


LAST_TENTH = ("reward/mean", "policy/entropy", "policy/kl")


def shared_problems(runs: list[SweptRun]) -> list[str]:
    """Keys of the problems that all these runs, which have final evaluations, were evaluated on.

    Raises ConfigError for runs that were evaluated under other settings or on other problems: they are not compared.
    """
    first = runs[0]
    for run in runs[1:]:
        if lines := incomparable(first.conditions, run.conditions):
            alike = [each.name for each in runs if not incomparable(first.conditions, each.conditions)]
            raise ConfigError(
                f"{first.name} and {run.name} were evaluated under other settings, so their scores are not compared: "
                f"{'; '.join(lines[:5])}. Name runs that were evaluated alike, for example: {' '.join(alike)}"
            )
        if not first.final.keys() & run.final.keys():
            raise ConfigError(
                f"{first.name} and {run.name} were evaluated on other problems; name runs that have some in common"
            )
    shared = set.intersection(*(set(run.final) for run in runs))
    if not shared:
        raise ConfigError("there is no problem that all of these runs were evaluated on; name fewer runs")
    return [key for key in first.final if key in shared]


def _ended(directory: Path) -> str:
    """The words of `run_summary.json`, but few of them; "" if it says nothing."""
    summary = read_summary(directory)
    if not summary:
        return ""
    if summary["exit_code"] == ExitCode.FINISHED:
        return "finished"
    cause = summary["cause"] if len(summary["cause"]) <= _CAUSE else f"{summary['cause'][:_CAUSE]}…"
    return f"{str(summary.get('name', '')).lower().replace('_', ' ')} ({summary['exit_code']}): {cause}"


def _holder(directory: Path) -> str:
    try:
        holder = parse_holder((directory / "LOCK").read_bytes())
    except OSError:
        holder = None
    if holder is not None and holder.is_here() and holder.fate() == "":
        return "going on"
    return (
        "no word of its end: killed" if holder is None or holder.is_here() else f"going on, or killed, on {holder.host}"
    )


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
