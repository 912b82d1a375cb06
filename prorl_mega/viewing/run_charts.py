"""The charts of a run that goes on: those of its report, and a chart for any other metric that a reader asks for."""

from __future__ import annotations

from collections.abc import Sequence

from prorl_mega.reporting.charts import all_charts, described
from prorl_mega.reporting.descriptions import LineChart, Series
from prorl_mega.reporting.history import History
from prorl_mega.viewing.chart_points import Description
from prorl_mega.viewing.values import text

MOST_METRICS = 24  # that a reader may add


def run_charts(history: History, also: Sequence[str]) -> list[Description]:
    """Those that have numbers, in the order of the report; then the metrics `also`, in their order."""
    if not len(history.steps) and not history.start:
        return []
    charts = [described(chart).plain() for chart in all_charts(history) if not chart.is_empty]
    titles = {chart["title"] for chart in charts}
    for name in list(dict.fromkeys(also))[:MOST_METRICS]:
        if name in history.columns and text(name) not in titles:
            titles.add(text(name))
            charts.append(_of_metric(history, name))
    return charts


def _of_metric(history: History, name: str) -> Description:
    series = Series(label=text(name.rpartition("/")[2] or name), values=history.column_from_start(name))
    return LineChart(
        title=text(name), about="As in metrics.jsonl", x=history.steps_from_start(), series=[series]
    ).plain()
