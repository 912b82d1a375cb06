"""The study of a boundary as one HTML file: curves with bands, gain against the base, Cover@τ, the problems that
crossed with their answers, and what else could explain the difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prorl_mega.evaluation.boundary_study import BoundaryStudy, TaskBoundary
from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.evaluation.crossings import Crossing
from prorl_mega.evaluation.explanations import BudgetCurves, Explanation
from prorl_mega.evaluation.mastery import RELIABLY, Mastery
from prorl_mega.evaluation.rivals import SHOWN, Rivals
from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting import kit
from prorl_mega.reporting.boundary_creativity import HEADS
from prorl_mega.reporting.boundary_panels import problem_panel, task_panel
from prorl_mega.reporting.boundary_text import (
    fit_text,
    mastery_cells,
    mastery_heads,
    mastery_text,
    with_any_to_master,
)
from prorl_mega.reporting.descriptions import Dot, LineChart, Mark, ScatterChart, Series

MOST_TASKS = 60  # with charts of their own
_TAUS = np.arange(1, 101)  # hundredths


@dataclass(kw_only=True, slots=True)
class BoundaryPage:
    """All that the page shows. `conditions`: a line on each model; `pieces`: the tokenizers that are known."""

    study: BoundaryStudy
    rivals: Rivals
    margin: float
    confidence: float
    mastery: Sequence[Mastery] = ()
    reliably: float = RELIABLY
    creativity: Sequence[Sequence[str]] = ()  # rows under HEADS
    conditions: Mapping[str, str] = field(default_factory=dict)
    pieces: Mapping[str, TokenPieces] = field(default_factory=dict)

    def html(self) -> str:
        """The file."""
        study = self.study
        title = f"Boundary: {' → '.join(study.models)}"
        overall = study.tasks[0]
        to_master = with_any_to_master(self.mastery)
        body = kit.environment().get_template("boundary.html.jinja").render(
            title=title, study=study, base=study.models[0], last=study.models[-1], overall=overall,
            sentence=self._sentence(), notes=[*study.notes, *self.rivals.notes], conditions=self.conditions,
            charted=[index for index, _ in self._charted()], tasks=list(enumerate(study.tasks)),
            lists=[
                ("gained", f"Problems that {study.models[0]} never solved", self._rows(study.gained, "gained")),
                ("lost", f"Problems that only {study.models[0]} solved", self._rows(study.lost, "lost")),
            ],
            explanations=[(each, _numbers(each)) for each in self.rivals.explanations],
            counted=[
                (name, [each for each in of_list if study.models[-1] in (each.solver, each.never)])
                for name, of_list in (("gained", study.gained), ("lost", study.lost))
            ],
            named=[each.name for each in self.rivals.explanations if each.found],
            mastery=[(each, mastery_cells(each, to_master)) for each in to_master],
            creativity=self.creativity, creativity_heads=HEADS,
            mastery_heads=mastery_heads(to_master),
            mastery_text=mastery_text(study.models[0], self.mastery, self.reliably, self.confidence),
            fit=fit_text(study), margin=self.margin, confidence=self.confidence, shown=SHOWN,
            has_budgets=self.rivals.budgets is not None, has_problems=bool(study.curves.problems),
        )  # fmt: skip
        return kit.page(title, body, {"charts": self._charts(), "panels": self._panels()})

    def _sentence(self) -> str:
        study, last = self.study, self.study.models[-1]
        if not study.curves.problems:
            return (
                "A table of means: it knows no problems, so there are no intervals, no lists and no rival explanations."
            )
        gained = [each for each in study.gained if each.solver == last]
        certain = sum(each.is_certain for each in gained)
        known = [each for each in self.rivals.explanations if each.found is not None]
        named = [each.name for each in known if each.found]
        said = f"{last} solves {len(gained)} problems that {study.models[0]} never solved in its samples; "
        said += f"for {certain} of them luck is ruled out. "
        if named:
            return said + f"Named as other explanations: {', '.join(named)}."
        unknown = [each.name for each in self.rivals.explanations if each.found is None]
        return said + "No other explanation was found" + (f"; not known: {', '.join(unknown)}." if unknown else ".")

    def _charted(self) -> list[tuple[int, TaskBoundary]]:
        """The tasks with charts: all together first, then those that moved most."""
        tasks = list(enumerate(self.study.tasks))
        return tasks if len(tasks) <= MOST_TASKS else [tasks[0], *self._most_moved(tasks[1:])]

    @staticmethod
    def _most_moved(tasks: list[tuple[int, TaskBoundary]]) -> list[tuple[int, TaskBoundary]]:
        return sorted(sorted(tasks, key=lambda each: -abs(each[1].gain.mean))[: MOST_TASKS - 1])

    def _charts(self) -> dict[str, Any]:
        charts = {"gain": self._scatter().plain()}
        if self.rivals.budgets:
            charts["budget"] = self._budgets(self.rivals.budgets).plain()
        for index, task in self._charted():
            charts[f"curve-{index}"] = self._curve(index, task).plain()
            if task.cover:
                charts[f"cover-{index}"] = self._cover(task).plain()
        return charts

    def _curve(self, index: int, task: TaskBoundary) -> LineChart:
        of_k = sorted({k for each in task.curves for k in each})
        series = []
        for model, curve in zip(self.study.models, task.curves, strict=True):
            points = np.array([curve.get(k, (math.nan,) * 3) for k in of_k])
            low, high = (points[:, 1], points[:, 2]) if task.problems > 1 else (None, None)
            series.append(Series(label=model, values=points[:, 0], low=low, high=high, exact=True))
        return LineChart(
            title=task.task, about=f"pass@k, {task.problems} problems" if task.problems else "pass@k", unit="pass@k",
            x=of_k, x_label="k =", group="k", logarithmic_x=True, bounds=(0, None), series=series,
            marks=[Mark(x=task.k, text=f"the boundary that is compared: k = {task.k}", kind="stage")],
            opens=[f"task-{index}"] * len(of_k),
        )  # fmt: skip

    def _budgets(self, curves: BudgetCurves) -> LineChart:
        series = []
        for model, of_model in curves.passes.items():
            points = np.array(of_model)
            low, high = (points[:, 1], points[:, 2]) if self.study.tasks[0].problems > 1 else (None, None)
            series.append(Series(label=model, values=points[:, 0], low=low, high=high, exact=True))
        return LineChart(
            title="With the same tokens", about="Solved problems if each model may spend as many tokens on a problem",
            unit="share of problems", x=[round(each) for each in curves.budgets], x_label="tokens per problem:",
            group="tokens", logarithmic_x=True, bounds=(0, None), series=series,
        )  # fmt: skip

    def _cover(self, task: TaskBoundary) -> LineChart:
        series = []
        for model in self.study.models:
            counts = np.array(self.study.curves.problems[task.task][model])
            reached = 100 * counts[:, 1, None] >= counts[:, 0, None] * _TAUS
            series.append(Series(label=model, values=reached.mean(axis=0), exact=True))
        return LineChart(
            title=task.task, about="Cover@τ: problems solved in at least the share τ of their samples",
            unit="share of problems", x=_TAUS / 100, x_label="τ =", group="tau", bounds=(0, None), series=series,
        )  # fmt: skip

    def _scatter(self) -> ScatterChart:
        groups: dict[str, list[Dot]] = {}
        for index, task in enumerate(self.study.tasks):
            if task.task == ALL_TASKS:
                continue
            gain, name = task.gain, task.regime.regime.value
            low, high = (gain.low, gain.high) if task.problems > 1 else (None, None)
            dot = Dot(x=task.boundary[0].mean, y=gain.mean, label=task.task, low=low, high=high, opens=f"task-{index}")
            groups.setdefault(name, []).append(dot)
        lines: dict[str, Sequence[tuple[float, float]]] = {"all that can be gained": [(0, 1), (1, 0)]}
        if self.study.fit:
            fit = self.study.fit
            lines["fit"] = [(x, fit.intercept + fit.slope * x) for x in (0.0, 1.0)]
        return ScatterChart(
            title="Gain against the base's boundary", about="One dot per task, in its regime; intervals over problems",
            x_label=f"pass@k of {self.study.models[0]}", y_label="gain of pass@k", groups=dict(groups), lines=lines,
            x_bounds=(-0.03, 1.03),
        )  # fmt: skip

    def _rows(self, crossed: Sequence[Crossing], prefix: str) -> list[tuple[str, Crossing]]:
        return [(f"{prefix}-{number}", each) for number, each in enumerate(crossed)]

    def _panels(self) -> dict[str, Any]:
        panels = {}
        for index, task in enumerate(self.study.tasks):
            keys = set(self.study.curves.keys.get(task.task, []))
            crossed = [
                (id_, name, each)
                for name, of_list in (("gained", self.study.gained), ("lost", self.study.lost))
                for id_, each in self._rows(of_list, name)
                if each.key in keys
            ]
            panels[f"task-{index}"] = task_panel(task, self.study.models, crossed, f"curve-{index}")
        for name, of_list in (("gained", self.study.gained), ("lost", self.study.lost)):
            rows = self._rows(of_list, name)
            for number, (id_, each) in enumerate(rows):
                neighbours = [rows[at][0] if 0 <= at < len(rows) else "" for at in (number - 1, number + 1)]
                panels[id_] = problem_panel(each, self.study, self.rivals.evidence, self.pieces, neighbours)
        return panels


def _numbers(each: Explanation) -> list[tuple[str, str]]:
    """Numbers with their names, for a table."""
    return [
        (name, f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
        for name, value in each.numbers.items()
    ]
