"""A study of the boundary as Markdown, which reads in a terminal as well, and as plain data for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from prorl_mega.evaluation.boundary_gain import FEWEST_BASES, FEWEST_TASKS, different
from prorl_mega.evaluation.boundary_study import BoundaryStudy, TaskBoundary
from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.crossings import Crossing
from prorl_mega.evaluation.explanations import Explanation
from prorl_mega.evaluation.mastery import RELIABLY, Mastery
from prorl_mega.evaluation.pass_at_k import Estimate
from prorl_mega.evaluation.regimes import Regime
from prorl_mega.evaluation.rivals import Rivals
from prorl_mega.reporting.boundary_creativity import HEADS
from prorl_mega.run.console import printable

LISTED = 20  # problems of a list that are printed; the JSON file has all


def to_text(
    study: BoundaryStudy,
    rivals: Rivals,
    mastery: Sequence[Mastery] = (),
    creativity: Sequence[Sequence[str]] = (),
    *,
    margin: float,
    confidence: float,
    reliably: float = RELIABLY,
) -> str:
    base, *_, last = study.models
    lines = [f"# Boundary: {' → '.join(map(printable, study.models))}", "", *_regimes(study, margin), ""]
    for note in [*study.notes, *rivals.notes]:
        lines += [printable(note), ""]
    if len({each.k for each in study.tasks}) > 1:
        lines += ["The tasks have boundaries at different k, as far as all models were sampled.", ""]
    if study.left_out:
        lines += [f"Left out, because the models share no k: {', '.join(map(printable, study.left_out))}.", ""]
    lines += ["## Gain against the base's boundary", "", fit_text(study), ""]
    if any(each.cover for each in study.tasks):
        lines += ["## Cover@τ", "", *_cover(study), ""]
        if mastery:
            lines += ["## From never to reliably", "", *_mastery(mastery, base, reliably, confidence), ""]
        if creativity:
            table = [_row(HEADS), "|" + "---|" * len(HEADS), *(_row(list(map(printable, row))) for row in creativity)]
            lines += ["## Creativity Index", "", *table, ""]
        lines += [f"## Problems that {printable(base)} never solved", "", *_crossings(study.gained, confidence), ""]
        lines += [f"## Problems that only {printable(base)} solved", "", *_crossings(study.lost, confidence), ""]
        lines += [f"## What else could explain {printable(base)} → {printable(last)}", ""]
        for each in rivals.explanations:
            lines.append(f"- {each.name}: {_found(each)}{printable(each.text)}")
            lines += [f"  - {' '.join(printable(example).split())}" for example in each.examples]
    else:
        lines.append("A table of means knows no problems: no intervals, no lists of problems, no rival explanations.")
    return "\n".join(lines) + "\n"


def to_plain(study: BoundaryStudy, rivals: Rivals, mastery: Sequence[Mastery] = ()) -> dict[str, Any]:
    """JSON-able; numbers that do not exist are null."""
    plain: dict[str, Any] = _plain(
        {
            "models": study.models,
            "curves": study.curves.means,
            "tasks": [dataclasses.asdict(each) for each in study.tasks],
            "fit": None if study.fit is None else dataclasses.asdict(study.fit),
            "gained": [dataclasses.asdict(each) | {"certain": each.is_certain} for each in study.gained],
            "lost": [dataclasses.asdict(each) | {"certain": each.is_certain} for each in study.lost],
            "mastered": [dataclasses.asdict(each) for each in mastery],
            "left_out": study.left_out,
            "explanations": [dataclasses.asdict(each) for each in rivals.explanations],
            "budgets": None if rivals.budgets is None else dataclasses.asdict(rivals.budgets),
            "notes": [*study.notes, *rivals.notes],
        }
    )
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {key.value if isinstance(key, Regime) else str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Regime):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _regimes(study: BoundaryStudy, margin: float) -> list[str]:
    def row(each: TaskBoundary) -> list[str]:
        of_models = [
            cell
            for mean, at_k in zip(each.pass_at_1, each.boundary, strict=True)
            for cell in (_number(mean), _estimate(at_k, each.problems))
        ]
        shares = each.regime.shares
        sure = "" if shares is None or each.problems < 2 else f" ({shares[each.regime.regime]:.0%})"
        return [
            printable(each.task), str(each.problems or "–"), str(each.k), *of_models,
            _estimate(each.gain, each.problems, "+"), _number(each.most[-1]), f"{each.regime.regime.value}{sure}",
        ]  # fmt: skip

    models = [cell for model in study.models for cell in (f"{printable(model)} pass@1", "pass@k")]
    head = ["task", "problems", "k", *models, "gain at k", "bound of the last", "regime"]
    columns = 6 + 2 * len(study.models)
    return [
        _row(head),
        "|" + "---|" * columns,
        *(_row(row(each)) for each in study.tasks),
        "",
        "At the floor or the ceiling: all models at 0.000, or at 1.000, so that nothing can be told apart. "
        "Diminish: the last model's pass@k is not above the base's. Plateau: it is, and at most "
        f"{margin:g} above that of the model before the last. Sustained: by more than {margin:g}. In brackets: the "
        "share of resampled sets of problems with the same regime. Intervals are of 95 %, over problems; with fewer "
        "than 20 problems they are too short, and one has none. The bound is the largest pass@k that mean and variance "
        "of the solve rates allow (arXiv 2505.24864, eq. 5).",
    ]


def _cover(study: BoundaryStudy) -> list[str]:
    taus = list(next(each.cover for each in study.tasks if each.cover))
    lines = [_row(["task", "model", *(f"τ = {tau}" for tau in taus)]), "|" + "---|" * (2 + len(taus))]
    for each in study.tasks:
        for index, model in enumerate(study.models):
            cells = [f"{each.cover[tau][index]:.3f}" for tau in taus]
            lines.append(_row([printable(each.task), printable(model), *cells]))
    return [*lines, "", "The share of problems that are solved in at least the share τ of their samples."]


def _crossings(found: Sequence[Crossing], confidence: float) -> list[str]:
    if not found:
        return ["None."]
    certain = sum(each.is_certain for each in found)
    lines = [
        f"{len(found)}, of which {certain} cannot be luck: the bounds are apart, at {100 * confidence:g}% for all "
        "lists at once. The others may be.",
        "",
        _row(["problem", "never solved by", "its rate is below", "solved by", "in", "its rate is above", "luck"]),
        "|" + "---|" * 7,
    ]
    for each in found[:LISTED]:
        lines.append(
            _row(
                [
                    printable(each.key), printable(each.never), f"{each.upper:.4f} (0 of {each.tried})",
                    printable(each.solver), f"{each.solved} of {each.samples}", f"{each.lower:.4f}",
                    "ruled out" if each.is_certain else "possible",
                ]
            )
        )  # fmt: skip
    return [*lines, *([f"… and {len(found) - LISTED} more"] if len(found) > LISTED else [])]


def _mastery(mastery: Sequence[Mastery], base: str, reliably: float, confidence: float) -> list[str]:
    text = mastery_text(base, mastery, reliably, confidence)
    shown = with_any_to_master(mastery)
    if not shown:
        return [text]
    heads = ["task", "model", *mastery_heads(shown)]
    rows = [[printable(each.task), printable(each.model), *mastery_cells(each, shown)] for each in shown]
    return [_row(heads), "|" + "---|" * len(heads), *map(_row, rows), "", text]


def with_any_to_master(mastery: Sequence[Mastery]) -> list[Mastery]:
    """The rows of tasks with problems that the base never solved."""
    return [each for each in mastery if each.never]


def mastery_heads(mastery: Sequence[Mastery]) -> list[str]:
    """The columns of the table behind task and model."""
    heads = ["problems", "never by the base", "mastered", "base's rate below", "model's rate above"]
    if any(each.in_any_form is not None for each in mastery):
        heads.append("base in another form")
    if any(each.further_problems for each in mastery):
        heads += ["further samples of the base", "still never", "base's rate below, all samples"]
    return heads


def mastery_cells(each: Mastery, mastery: Sequence[Mastery]) -> list[str]:
    """The row of `each`, one of `mastery`, without task and model."""
    cells = [str(each.problems), f"{each.never} (0 of {each.tried:,})" if each.never else "0", str(each.mastered)]
    cells += [f"{each.upper:.4f}", f"{each.lower:.3f}"] if each.mastered else ["–", "–"]
    if any(one.in_any_form is not None for one in mastery):
        cells.append("–" if each.in_any_form is None else str(each.in_any_form))
    if any(one.further_problems for one in mastery):
        some = each.further_problems
        cells += [f"{some} × {each.further_samples:,}", str(each.further_never)] if some else ["–", "–"]
        cells.append(f"{each.further_upper:.5f}" if each.further_never else "–")
    return cells


def mastery_text(base: str, mastery: Sequence[Mastery], reliably: float, confidence: float) -> str:
    """The sentences below the table."""
    left_out = list(dict.fromkeys(printable(each.task) for each in mastery if not each.never))
    solved = f" Not in the table, because the base solved all of their problems: {', '.join(left_out)}."
    return (
        f"Mastered: {printable(base)} solved the problem in none of its samples, the model in at least "
        f"{100 * reliably:g} % of its own. The bounds are the worst of the mastered problems, exact, and hold for all "
        f"problems and models at once at {100 * confidence:g} %."
    ) + (solved if left_out else "")


def fit_text(study: BoundaryStudy) -> str:
    """The fit in a sentence, or why there is none."""
    fit = study.fit
    if fit is None:
        bases = [each.boundary[0].mean for each in study.tasks if each.task != ALL_TASKS]
        return (
            f"Nothing can be fitted: a line needs at least {FEWEST_TASKS} tasks with {FEWEST_BASES} different base "
            f"boundaries; here are {len(bases)} with {different(bases)}."
        )
    quality = f"R² = {fit.r_squared:.3f}" if math.isfinite(fit.r_squared) else "all gains are equal, so there is no R²"
    return (
        f"gain = {fit.intercept:.3f} {'−' if fit.slope < 0 else '+'} {abs(fit.slope):.3f} · base, over {fit.tasks} "
        f"tasks; {quality}; 95 % interval of the slope [{fit.low:.3f}, {fit.high:.3f}]. A last model "
        "that has nothing to do with the base gives a slope of −1 by itself."
    )


def _found(each: Explanation) -> str:
    return {True: "**yes**, ", False: "no, ", None: "not known, "}[each.found]


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _estimate(value: Estimate, problems: int, sign: str = "") -> str:
    return f"{value.mean:{sign}.3f}" + (f" [{value.low:{sign}.3f}, {value.high:{sign}.3f}]" if problems > 1 else "")


def _row(cells: Sequence[str]) -> str:
    """A row of a table; names may contain what would end a cell or the row."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
