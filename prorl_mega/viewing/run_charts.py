"""The charts of a run that goes on: those of its report."""

from __future__ import annotations

from prorl_mega.reporting.charts import all_charts, described
from prorl_mega.reporting.history import History
from prorl_mega.viewing.chart_points import Description


def run_charts(history: History) -> list[Description]:
    """Those that have numbers, in the order of the report."""
    if not len(history.steps) and not history.start:
        return []
    return [described(chart).plain() for chart in all_charts(history) if not chart.is_empty]
