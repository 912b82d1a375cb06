"""The main curves of a run as one picture, for a README or a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.reporting.charts import moving_average, smoothing_width
from prorl_mega.reporting.history import History
from prorl_mega.run.storage import storage_errors

INK, SOFT, RULE = "#16191d", "#5c6670", "#e3e7ec"
COLOURS = ("#2563eb", "#d9570f", "#0f8f74", "#8b3fd1", "#b98900", "#d02670", "#5b6b80", "#5f9411")


def style() -> Any:
    """matplotlib settings of all pictures."""
    return {
        "font.family": "sans-serif",
        "font.size": 11,
        "axes.edgecolor": RULE,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "text.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "#eceff3",
        "axes.axisbelow": True,
        "legend.framealpha": 0.9,
        "legend.edgecolor": "none",
        "legend.fontsize": 10,
    }


def write_picture(history: History, path: Path) -> None:
    """Six panels as PNG, 1950 × 1080 pixels; panels without numbers stay empty. Nothing before the first step."""
    if len(history.steps) == 0:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(style()):
        figure = Figure(figsize=(13, 7.2), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        panels = figure.subplots(2, 3).flatten()
        _lines(panels[0], history, "Reward", {"reward/mean": "mean of all answers"}, "reward")
        passes = {"pass/train": "training"} | {name: f"held-out {name[11:]}" for name in history.held_out_passes()}
        _lines(panels[1], history, "Pass rates", passes, "share of answers")
        _lines(panels[2], history, "Entropy", {"policy/entropy": "entropy"}, "nats")
        _lines(panels[3], history, "KL to the reference policy", {"policy/kl": "KL"}, "nats per token")
        _lines(panels[4], history, "Completion length", {"length/mean": "mean"}, "tokens")
        _phases(panels[5], history)
        with storage_errors(f"writing {path}"):
            figure.savefig(path)


def _lines(panel: Any, history: History, title: str, names: dict[str, str], unit: str) -> None:
    frame(panel, title, unit)
    for index, (name, label) in enumerate(names.items()):
        values = history.column(name)
        known = np.isfinite(values)
        if not known.any():
            continue
        colour = COLOURS[index]
        if name.startswith("evaluation/"):
            panel.plot(history.steps[known], values[known], color=colour, marker="o", markersize=4, label=label)
        elif name == "policy/kl":  # an average would blur the resets
            panel.plot(history.steps[known], values[known], color=colour, linewidth=2.2, label=label)
        else:
            panel.plot(history.steps[known], values[known], color=colour, alpha=0.28, linewidth=1)
            average = moving_average(values, smoothing_width(len(values)))
            panel.plot(history.steps, average, color=colour, linewidth=2.2, label=label)
    resets = history.resets()
    for step in resets:
        panel.axvline(step, color=INK, linestyle=(0, (2, 3)), linewidth=1, alpha=0.6)
    if resets and title.startswith("KL"):
        panel.plot([], [], color=INK, linestyle=(0, (2, 3)), linewidth=1, alpha=0.6, label="reference reset")
    if len(panel.get_legend_handles_labels()[1]) > 1:
        panel.legend(loc="upper left" if resets and title.startswith("KL") else "best")


def _phases(panel: Any, history: History) -> None:
    frame(panel, "Time per step", "seconds")
    phases = history.phases()
    if not phases:
        return
    names = sorted(phases, key=lambda name: -float(np.nansum(phases[name])))
    layers = [np.nan_to_num(phases[name]) for name in names]
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(names))]
    panel.stackplot(history.steps, layers, labels=names, colors=colours, alpha=0.88, step="mid")
    panel.set_ylim(0, 1.45 * float(np.sum(layers, axis=0).max()))  # room for the legend
    panel.legend(ncols=3, loc="upper left")


def frame(panel: Any, title: str, unit: str) -> None:
    """Title and axes of a panel over steps."""
    panel.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK)
    panel.set_xlabel("step")
    panel.set_ylabel(unit)
    panel.tick_params(length=0)
