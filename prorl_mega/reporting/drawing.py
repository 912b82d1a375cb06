"""The main charts drawn by matplotlib in one PNG, for a README or a message.

matplotlib is imported when something is drawn, because it takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.reporting.charts import Chart, in_buckets, moving_average, smoothing_width
from prorl_mega.run.storage import storage_errors

COLOURS = ("#2563eb", "#d9570f", "#0f8f74", "#8b3fd1", "#b98900", "#d02670", "#5b6b80", "#5f9411")
INK, SOFT, RULE, GRID, CARD = "#16191d", "#5c6670", "#e3e7ec", "#eceff3", "#ffffff"
DASHED: Any = (0, (2, 3))
IN_PICTURE = ("Reward", "Pass rates", "Entropy", "KL to the reference policy", "Completion length", "Time per step")


@contextmanager
def styled_figure(width: float, height: float, dpi: int) -> Iterator[Any]:
    """A matplotlib figure of `width` × `height` inches in the style of all charts; draw and save it inside."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style: Any = {
        "font.family": "sans-serif",
        "font.size": 11,
        "text.parse_math": False,  # names may contain a $
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.labelcolor": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.grid.which": "major",
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "axes.formatter.use_mathtext": False,
        "grid.color": GRID,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "legend.framealpha": 0.9,
        "legend.edgecolor": "none",
        "legend.fontsize": 10,
    }
    with mpl.rc_context(style):
        yield Figure(figsize=(width, height), dpi=dpi, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))


def frame(panel: Any, title: str, unit: str) -> None:
    """Title and axes of a panel over steps."""
    if title:
        panel.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK)
    panel.set_xlabel("step")
    panel.set_ylabel(unit)
    panel.tick_params(which="both", bottom=False, left=False)


def draw(panel: Any, chart: Chart) -> None:
    """The lines or layers of a chart, its resets and its scales."""
    steps = chart.steps.astype(float)
    _scales(panel, chart, steps)
    if chart.stacked:
        middles = (steps[1:] + steps[:-1]) / 2
        edges = np.concatenate([[panel.get_xlim()[0]], middles, [panel.get_xlim()[1]]])  # every step fills its place
        layers = [np.append(values, values[-1]) for values in chart.lines.values()]
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(layers))]
        panel.stackplot(edges, layers, labels=list(chart.lines), colors=colours, alpha=0.88, step="post", linewidth=0)
    for index, (label, values) in enumerate(chart.lines.items() if not chart.stacked else ()):
        colour, known = COLOURS[index % len(COLOURS)], np.isfinite(values)
        span = int(np.ptp(np.flatnonzero(known))) + 1 if known.any() else 0
        shown, is_sparse = known, known.sum() == 1 or known.sum() <= min(40, span - 1)  # few, with gaps between them
        if label not in chart.exact and known.sum() >= 8:
            panel.plot(steps[known], values[known], color=colour, alpha=0.28, linewidth=1)
            values = moving_average(values, smoothing_width(len(steps)))
            shown, is_sparse = np.isfinite(values), False
        marker = {"marker": "o", "markersize": 6, "markeredgecolor": CARD} if is_sparse else {}
        panel.plot(steps[shown], values[shown], color=colour, linewidth=2.2, label=label, **marker)
    for step in chart.resets:
        panel.axvline(step, color=INK, linestyle=DASHED, linewidth=1.1, alpha=0.6)
    if chart.names_resets and chart.resets:
        panel.plot([], [], color=INK, linestyle=DASHED, linewidth=1.1, alpha=0.6, label="reference reset")


def write_picture(charts: list[Chart], path: Path) -> None:
    """Six panels as PNG, 1950 × 1080 pixels; panels without numbers stay empty. Nothing before the first step."""
    chosen = [in_buckets(next(chart for chart in charts if chart.title == title)) for title in IN_PICTURE]
    if not chosen[0].steps.size:  # of training; before the first one there is at most an evaluation
        return
    with styled_figure(13, 7.2, dpi=150) as figure:
        for panel, chart in zip(figure.subplots(2, 3).flatten(), chosen, strict=True):
            frame(panel, chart.title, chart.unit)
            if not chart.is_empty:
                draw(panel, chart)
            at_top = chart.stacked or chart.names_resets
            if at_top and not chart.is_empty:
                panel.set_ylim(panel.get_ylim()[0], 1.45 * panel.get_ylim()[1])  # room for the legend
            if len(panel.get_legend_handles_labels()[1]) > 1:
                panel.legend(ncols=3 if chart.stacked else 1, loc="upper left" if at_top else "best")
        with storage_errors(f"writing {path}"):
            figure.savefig(path)


def _scales(panel: Any, chart: Chart, steps: np.ndarray) -> None:
    """Limits and ticks of both axes."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    first, last = float(steps[0]), float(steps[-1])
    half = 0.5 if first == last else 0.0
    panel.set_xlim(first - half, last + half)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    columns = list(chart.lines.values())
    finite = np.concatenate(
        [each[np.isfinite(each)] for each in ([np.sum(columns, axis=0)] if chart.stacked else columns)]
    )
    positive = finite[finite > 0]
    if chart.logarithmic and len(positive):
        decade, last_decade = math.floor(math.log10(positive.min())), math.ceil(math.log10(positive.max()))
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(numticks=6))
        panel.yaxis.set_major_formatter(lambda value, _: f"1e{round(math.log10(value))}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_ylim(10.0**decade, 10.0 ** max(last_decade, decade + 1))
        return
    fixed = [math.isfinite(bound) for bound in chart.bounds]
    low, high = (
        bound if is_fixed else float(own)
        for bound, is_fixed, own in zip(chart.bounds, fixed, (finite.min(), finite.max()), strict=True)
    )
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    below = low - margin if low < 0 else max(0.0, low - margin)  # what is never negative is not drawn as if it were
    panel.set_ylim(low if fixed[0] else below, high if fixed[1] and high > low else high + margin)
