"""The boundary of two or more models: per task the curves, the regime and the bound, over tasks the gain, and the
problems that crossed."""

from __future__ import annotations

from dataclasses import dataclass, field

from prorl_mega.evaluation.boundary_gain import GainFit, fit_gain
from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.cover import TAUS, cover_at
from prorl_mega.evaluation.crossings import Crossing, crossings
from prorl_mega.evaluation.pass_at_k import Estimate, bootstrap, most_at_k
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
        left_out=[task for task in curves.means if not curves.boundary_k(task, k)],
    )


def _task(curves: PassCurves, task: str, wanted: int, margin: float) -> TaskBoundary:
    k = curves.boundary_k(task, wanted)
    means = [curves.means[task][model] for model in curves.models]
    values = curves.per_problem(task, k)
    at_k = [each[k] for each in means] if values is None else values.mean(axis=1).tolist()
    if values is None:
        boundary = [Estimate(mean, mean, mean) for mean in at_k]
        gain = Estimate(*([at_k[-1] - at_k[0]] * 3))
    else:
        boundary = [bootstrap(row.tolist()) for row in values]
        gain = bootstrap((values[-1] - values[0]).tolist())
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
    )


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
    for model in later:
        gained += crossings(base, counts[base], model, counts[model], confidence=confidence, lists=lists)
        lost += crossings(model, counts[model], base, counts[base], confidence=confidence, lists=lists)
    return gained, lost
