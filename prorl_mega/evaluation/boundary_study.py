"""The boundary of two or more models: per task the curves, the regime and the bound, over tasks the gain, and the
problems that crossed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from prorl_mega.evaluation.boundary_gain import GainFit, fit_gain
from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.cover import TAUS, cover_at
from prorl_mega.evaluation.crossings import Crossing, crossings
from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap_rows, most_at_k, passes
from prorl_mega.evaluation.pass_curves import PassCurves
from prorl_mega.evaluation.regimes import RegimeOfTask, regime_of

BOUNDARY_K = 128


@dataclass(kw_only=True, slots=True, frozen=True)
class TaskBoundary:
    """One task. Lists are in the order of the models; `k` is that of the boundary, `problems` 0 for a table."""

    task: str
    k: int
    problems: int
    pass_at_1: list[float]
    boundary: list[Estimate]
    most: list[float]  # the bound of E[pass@k] by mean and variance; NaN without pass@2
    gain: Estimate  # last − base, resampled in pairs
    regime: RegimeOfTask
    cover: dict[str, list[float]] = field(default_factory=dict)  # by τ
    curves: list[dict[int, Estimate]] = field(default_factory=list)  # by k


@dataclass(kw_only=True, slots=True, frozen=True)
class BoundaryStudy:
    """`gained` and `lost` are between the base and each later model; `left_out` names tasks without a common k."""

    models: list[str]
    curves: PassCurves
    tasks: list[TaskBoundary]
    fit: GainFit | None
    gained: list[Crossing]
    lost: list[Crossing]
    left_out: list[str]
    notes: list[str]  # sentences on what was compared


def study_boundary(curves: PassCurves, *, k: int, margin: float, confidence: float) -> BoundaryStudy:
    """The study of `curves` at the boundary `k`, or the largest smaller one that all models have.

    `margin` is that of the regimes, `confidence` that of all lists of crossed problems together.
    """
    tasks = [_task(curves, task, k, margin) for task in curves.means if curves.boundary_k(task, k)]
    single = [each for each in tasks if each.task != ALL_TASKS]
    gained, lost = _crossed(curves, confidence)
    return BoundaryStudy(
        models=curves.models,
        curves=curves,
        tasks=tasks,
        fit=fit_gain([each.boundary[0].mean for each in single], [each.boundary[-1].mean for each in single]),
        gained=gained,
        lost=lost,
        notes=[*curves.notes, *_smaller(tasks, k)],
        left_out=[task for task in curves.means if not curves.boundary_k(task, k)],
    )


def _task(curves: PassCurves, task: str, wanted: int, margin: float) -> TaskBoundary:
    k = curves.boundary_k(task, wanted)
    means = [curves.means[task][model] for model in curves.models]
    values = curves.per_problem(task, k)
    if values is None:
        at_k = [each[k] for each in means]
        boundary = [Estimate(mean, mean, mean) for mean in at_k]
        gain = Estimate(*([at_k[-1] - at_k[0]] * 3))
        lines = [{size: Estimate(mean, mean, mean) for size, mean in each.items()} for each in means]
    else:
        *boundary, gain = bootstrap_rows(np.vstack([values, values[-1] - values[0]]))
        at_k = [each.mean for each in boundary]
        lines = _curves(curves, task)
    counts = [curves.problems[task][model] for model in curves.models] if values is not None else []
    return TaskBoundary(
        task=task,
        k=k,
        problems=0 if values is None else values.shape[1],
        pass_at_1=[each.get(1, float("nan")) for each in means],
        boundary=boundary,
        most=[most_at_k(each[2], k) if 2 in each and k >= 2 else float("nan") for each in means],
        gain=gain,
        regime=regime_of(at_k, values, margin),
        cover={f"{tau:g}": [cover_at(each, tau) for each in counts] for tau in TAUS} if counts else {},
        curves=lines,
    )


def _curves(curves: PassCurves, task: str) -> list[dict[int, Estimate]]:
    """pass@k with its interval, of every model, for the k of `means`."""
    of_k = list(curves.means[task][curves.models[0]])
    rows = bootstrap_rows(np.vstack([passes(curves.problems[task][model], k) for model in curves.models for k in of_k]))
    starts = range(0, len(rows), len(of_k))
    return [dict(zip(of_k, rows[start : start + len(of_k)], strict=True)) for start in starts]


def _smaller(tasks: list[TaskBoundary], wanted: int) -> list[str]:
    """A sentence, if there are tasks with a boundary below the k that was asked for."""
    smaller = sorted({each.k for each in tasks if each.k < wanted})
    if not smaller:
        return []
    found = f"{smaller[0]}" if len(smaller) == 1 else f"{smaller[0]} to {smaller[-1]}"
    everywhere = len(smaller) == 1 and all(each.k < wanted for each in tasks)
    return [
        f"The boundary is at k = {found}{'' if everywhere else ' for some tasks'}, not at {wanted}: that is as far as "
        "all models were sampled, and pass@k beyond the samples cannot be estimated."
    ]


def _crossed(curves: PassCurves, confidence: float) -> tuple[list[Crossing], list[Crossing]]:
    base, *later = curves.models
    single = [task for task in curves.problems if task != ALL_TASKS]
    counts = {
        model: {
            key: each
            for task in single
            for key, each in zip(curves.keys[task], curves.problems[task][model], strict=True)
        }
        for model in curves.models
    }
    lists = 2 * len(later)
    gained, lost = [], []
    for model in reversed(later):  # what the last one gained is asked for first
        gained += crossings(base, counts[base], model, counts[model], confidence=confidence, lists=lists)
        lost += crossings(model, counts[model], base, counts[base], confidence=confidence, lists=lists)
    return gained, lost
