"""Several runs in one picture: a line each, averaged over the same intervals of steps, and what was set differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prorl_mega.reporting.charts import Chart, all_charts
from prorl_mega.reporting.descriptions import LineChart, Series
from prorl_mega.reporting.history import History
from prorl_mega.viewing.chart_points import Description
from prorl_mega.viewing.listed_run import ListedRun
from prorl_mega.viewing.open_run import OpenRun
from prorl_mega.viewing.values import text

MOST_POINTS = 400  # per line
MOST_CHARTS = 60
_OWN = {"name", "root"}  # settings that differ between any two runs
_LONGEST = 200  # characters of a value


class RunComparison:
    """Makes comparisons, and the charts of the last one again only when one of its runs has gone on."""

    def __init__(self) -> None:
        self._charts: tuple[Any, list[Description]] = (None, [])

    def of(self, listed: Sequence[ListedRun], runs: Sequence[OpenRun]) -> dict[str, Any]:
        """`{"runs", "charts", "settings": [{"key", "values"}], "complete"}`; values and lines in the order of runs."""
        names = _names(listed)
        state = [(name, each.key, run.state) for name, each, run in zip(names, listed, runs, strict=True)]
        if state != self._charts[0]:
            histories = [run.history(each.settings.values) for run, each in zip(runs, listed, strict=True)]
            self._charts = (state, _charts(names, histories))
        return {
            "runs": [each.to_json() | {"label": name} for each, name in zip(listed, names, strict=True)],
            "charts": self._charts[1],
            "settings": _differences([each.settings.values for each in listed]),
            "complete": all(run.is_complete for run in runs),
        }


def _names(listed: Sequence[ListedRun]) -> list[str]:
    """Names that tell the runs apart: with their folders where they are not enough."""
    short = [each.place.path.name for each in listed]
    parts = [each.place.path.parts for each in listed]
    found = []
    for name, path in zip(short, parts, strict=True):
        length = 1
        while length < len(path) and sum(other[-length:] == path[-length:] for other in parts) > 1:
            length += 1
        found.append(text("/".join(path[-length:]) if short.count(name) > 1 else name))
    return found


def _differences(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings that are not the same in all runs."""
    keys = dict.fromkeys(key for each in settings for key in each)
    rows = []
    for key in keys:
        values = [str(each[key]) if key in each else None for each in settings]
        if key not in _OWN and len(set(values)) > 1:
            rows.append(
                {"key": text(key), "values": [None if each is None else text(each, _LONGEST) for each in values]}
            )
    return rows


def _charts(names: Sequence[str], histories: Sequence[History]) -> list[Description]:
    """A chart for every line of the report's charts that some run has; layers are added up."""
    last = max((int(history.steps[-1]) for history in histories if len(history.steps)), default=0)
    width = math.ceil(last / MOST_POINTS) or 1
    ends = np.arange(0, last + width, width)
    found: dict[str, tuple[Chart, bool, dict[int, np.ndarray]]] = {}
    for index, history in enumerate(histories):
        for chart in all_charts(history):
            lines = {"": np.sum(list(chart.lines.values()), axis=0)} if chart.stacked and chart.lines else chart.lines
            for label, values in lines.items():
                title = f"{chart.title}: {label}" if len(lines) > 1 else chart.title
                place = found.setdefault(title, (chart, label in chart.exact, {}))
                place[2][index] = _averaged(chart.steps, values, ends)
    return [
        _chart(title, chart, is_exact, lines, names, ends)
        for title, (chart, is_exact, lines) in list(found.items())[:MOST_CHARTS]
    ]


def _averaged(steps: np.ndarray, values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Means over the intervals that end at `ends`, `[n]`; NaN where there is no number."""
    known = np.isfinite(values)
    places = np.searchsorted(ends, steps[known])
    total = np.bincount(places, values[known], minlength=len(ends))
    count = np.bincount(places, minlength=len(ends))
    return np.divide(total, count, out=np.full(len(ends), np.nan), where=count > 0)


def _chart(
    title: str,
    chart: Chart,
    is_exact: bool,
    lines: dict[int, np.ndarray],
    names: Sequence[str],
    ends: np.ndarray,
) -> Description:
    nothing, width = np.full(len(ends), np.nan), int(ends[1] - ends[0]) if len(ends) > 1 else 1
    return LineChart(
        title=text(title),
        about=chart.about + (f"; means over {width} steps" if width > 1 else ""),
        x=ends,
        series=[
            Series(label=name, values=lines.get(index, nothing), exact=is_exact) for index, name in enumerate(names)
        ],
        unit=chart.unit,
        logarithmic=chart.logarithmic,
    ).plain()  # without its bounds: a difference is to be seen
