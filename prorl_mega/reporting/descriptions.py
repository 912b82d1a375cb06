"""Charts as JSON for the pages of the kit: what `assets/charts.js` and `assets/scatter.js` draw.

Numbers go along with five significant digits. What is not finite is null, a gap. Lines with many points are sent in
buckets: means, with the least and the most of each bucket, so that no spike disappears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

MOST_POINTS = 1000  # per line
Bounds = tuple[float | None, float | None]
"""The ends of an axis; None leaves an end to the numbers."""


class Description(Protocol):
    """A chart for a page."""

    def plain(self) -> dict[str, Any]:
        """JSON-able."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Series:
    """A line: `values` `[n]`, NaN where there is no number; `low` and `high` `[n]` are drawn as a band.

    `exact`: never smoothed. `hidden`: not shown until a reader clicks its name in the legend.
    """

    label: str
    values: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    exact: bool = False
    hidden: bool = False


@dataclass(kw_only=True, slots=True, frozen=True)
class Mark:
    """Something that happened at an x: a line across the chart, or ("minor") a small mark at its foot.

    `text` is shown where the pointer is near it; `opens` is the id of a panel or of an element of the page.
    """

    x: float
    text: str
    kind: Literal["reset", "stage", "minor"] = "reset"
    opens: str = ""


@dataclass(kw_only=True, slots=True, frozen=True)
class LineChart:
    """Lines over a shared x, `[n]`, ascending. Charts of the same `group` share cursor and zoom.

    `opens`: ids by point, `[n]`, of what a click on it opens, "" for nothing; not where there are buckets. For
    charts over steps the page's data says it once, see `kit.page`.
    """

    title: str
    about: str
    x: Sequence[float] | np.ndarray
    series: Sequence[Series]
    unit: str = ""
    x_label: str = "step"
    group: str = "step"
    marks: Sequence[Mark] = ()
    opens: Sequence[str] = ()
    stacked: bool = False
    logarithmic: bool = False
    logarithmic_x: bool = False
    bounds: Bounds = (None, None)  # of y
    names_resets: bool = False  # whether the legend says what the marks are
    most_points: int = MOST_POINTS  # per line
    spikes: bool = True  # whether buckets go along with their least and most

    def plain(self) -> dict[str, Any]:
        """JSON-able; in buckets where there are more than `most_points` points."""
        x = np.asarray(self.x, dtype=np.float64)
        size = math.ceil(len(x) / self.most_points)
        starts = np.arange(0, len(x), size) if size > 1 else None
        is_whole = bool(np.all(x == np.round(x)))
        ends = x if starts is None else x[np.minimum(starts + size, len(x)) - 1]
        axis = {"label": self.x_label, "group": self.group, "values": exact(ends, is_whole), "is_whole": is_whole}
        if starts is not None:
            axis["first"] = exact(x[starts], is_whole)
        return {
            "kind": "lines", "title": self.title, "about": self.about, "unit": self.unit, "x": axis,
            "series": [_series(each, starts, self.spikes) for each in self.series],
            "marks": [{"x": each.x, "text": each.text, "kind": each.kind, "opens": each.opens} for each in self.marks],
            "opens": list(self.opens) if starts is None else [],
            "stacked": self.stacked, "log_y": self.logarithmic, "log_x": self.logarithmic_x,
            "bounds": list(self.bounds), "names_marks": self.names_resets,
        }  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Dot:
    """A point of a scatter. `low` and `high` are the ends of an interval of `y`, `opens` the id of what it opens."""

    x: float
    y: float
    label: str
    note: str = ""
    opens: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(kw_only=True, slots=True, frozen=True)
class ScatterChart:
    """Dots in groups by name, with lines (points by name), such as a fit or a diagonal, behind them.

    `x_ticks`: names of places on the x axis, instead of its numbers.
    """

    title: str
    about: str
    x_label: str
    y_label: str
    groups: dict[str, Sequence[Dot]]
    lines: dict[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    x_bounds: Bounds = (None, None)
    y_bounds: Bounds = (None, None)
    x_ticks: Sequence[tuple[float, str]] = ()

    def plain(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "kind": "scatter", "title": self.title, "about": self.about, "unit": self.y_label,
            "x": {"label": self.x_label, "ticks": [[_number(x), name] for x, name in self.x_ticks]},
            "y": {"label": self.y_label},
            "groups": [{"label": name, "dots": [_dot(dot) for dot in dots]} for name, dots in self.groups.items()],
            "lines": [
                {"label": name, "points": [[_number(x), _number(y)] for x, y in points]}
                for name, points in self.lines.items()
            ],
            "x_bounds": list(self.x_bounds), "y_bounds": list(self.y_bounds),
        }  # fmt: skip


def exact(values: np.ndarray, is_whole: bool) -> list[float] | list[int]:
    """The numbers of an x axis as they are."""
    return [int(each) for each in values] if is_whole else [float(each) for each in values]


def bucket_means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means of the buckets that begin at `starts`, over the numbers there are; NaN for a bucket without any."""
    known = np.isfinite(values)
    count = np.add.reduceat(known.astype(float), starts)
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    return np.divide(total, count, out=np.full(len(starts), np.nan), where=count > 0)


def _series(series: Series, starts: np.ndarray | None, spikes: bool) -> dict[str, Any]:
    values = np.asarray(series.values, dtype=np.float64)
    plain: dict[str, Any] = {"label": series.label, "exact": series.exact, "hidden": series.hidden}
    plain["values"] = _numbers(values if starts is None else bucket_means(values, starts))
    if series.low is not None and series.high is not None:
        for name, end in (("low", series.low), ("high", series.high)):
            ends = np.asarray(end, dtype=np.float64)
            plain[name] = _numbers(ends if starts is None else bucket_means(ends, starts))
    elif starts is not None and spikes:
        known = np.isfinite(values)
        plain["least"] = _numbers(np.minimum.reduceat(np.where(known, values, np.inf), starts))
        plain["most"] = _numbers(np.maximum.reduceat(np.where(known, values, -np.inf), starts))
    return plain


def _dot(dot: Dot) -> dict[str, Any]:
    plain: dict[str, Any] = {"x": _number(dot.x), "y": _number(dot.y), "label": dot.label}
    plain |= {name: text for name, text in (("note", dot.note), ("opens", dot.opens)) if text}
    return plain | {name: _number(end) for name, end in (("low", dot.low), ("high", dot.high)) if end is not None}


def _numbers(values: np.ndarray) -> list[float | int | None]:
    return [_number(each) for each in values.tolist()]


def _number(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
