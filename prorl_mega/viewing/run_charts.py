"""The charts of a run that goes on: those of the report, with the decisions of the controller as marks."""

from __future__ import annotations

import math
from typing import Any

from prorl_mega.reporting.charts import Chart, all_charts
from prorl_mega.reporting.descriptions import LineChart, Mark, Series
from prorl_mega.reporting.history import History
from prorl_mega.viewing.chart_points import Description

MOST_MARKS = 200  # the newest; more would cover the lines


def run_charts(history: History, decisions: list[dict[str, Any]]) -> list[Description]:
    """Those that have numbers, in the order of the report."""
    if not len(history.steps) and not history.start:
        return []
    marks = _marks(decisions)
    return [_described(chart, marks) for chart in all_charts(history) if not chart.is_empty]


def _described(chart: Chart, marks: list[Mark]) -> Description:
    low, high = (bound if math.isfinite(bound) else None for bound in chart.bounds)
    series = [Series(label=label, values=values, exact=label in chart.exact) for label, values in chart.lines.items()]
    return LineChart(
        title=chart.title,
        about=chart.about,
        x=chart.steps,
        series=series,
        unit=chart.unit,
        marks=marks,
        stacked=chart.stacked,
        logarithmic=chart.logarithmic,
        bounds=(low, high),
        names_resets=chart.names_resets,
    ).plain()


def _marks(decisions: list[dict[str, Any]]) -> list[Mark]:
    """Resets and stages as lines, other decisions small; settings that were changed belong to the step after."""
    kinds: dict[str, Any] = {"reset": "reset", "next_stage": "stage"}
    return [
        Mark(x=each["step"], text=each["text"] or each["action"], kind=kinds.get(each["action"], "minor"))
        for each in decisions[-MOST_MARKS:]
        if each["action"] != "wait"
    ]
