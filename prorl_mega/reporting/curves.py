"""Curves of several runs: a line per arm of a study, the mean over its runs and their range; and a picture of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prorl_mega.reporting.drawing import COLOURS, frame, styled_figure
from prorl_mega.reporting.history import History, read_history
from prorl_mega.run.storage import storage_errors

PANELS = {
    "evaluation/pass@1": ("Held-out pass@1", "share of answers"),
    "policy/entropy": ("Entropy", "nats"),
    "policy/kl": ("KL to the reference policy", "nats per token"),
}


Curves = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]
"""Steps `[n]` and values `[runs, n]` by the name in PANELS and the title of an arm."""


def read_curves(arms: dict[str, list[Path]]) -> Curves:
    """The curves of `arms`, run directories by the title of their arm; missing runs and numbers are left out."""
    return curves_of(
        {title: [read_history(run) for run in runs if (run / "metrics.jsonl").exists()] for title, runs in arms.items()}
    )


def curves_of(histories: dict[str, list[History]]) -> Curves:
    """The curves of runs that have been read, by the title of their arm."""
    aligned = {name: {arm: _aligned(runs, name) for arm, runs in histories.items()} for name in PANELS}
    return {name: {arm: each for arm, each in of.items() if len(each[0])} for name, of in aligned.items()}


def write_curves(curves: Curves, path: Path) -> None:
    """Write a PNG of the curves."""
    arms = list(dict.fromkeys(arm for of in curves.values() for arm in of))
    with styled_figure(15, 5.4, dpi=130) as figure:
        panels = figure.subplots(1, len(PANELS))
        for panel, (name, (title, unit)) in zip(panels, PANELS.items(), strict=True):
            frame(panel, title, unit)
            for arm, (steps, values) in curves[name].items():
                colour = COLOURS[arms.index(arm) % len(COLOURS)]
                panel.plot(steps, np.nanmean(values, axis=0), color=colour, linewidth=2, label=arm)
                panel.fill_between(
                    steps, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=colour, alpha=0.12, linewidth=0
                )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        with storage_errors(f"writing {path}"):
            figure.savefig(path)


def _aligned(runs: list[History], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which every run has the number, `[n]`, and the numbers `[runs, n]`; smoothed where there are many."""
    found = [(run.steps_from_start(), run.column_from_start(name)) for run in runs]
    known = [
        dict(zip(at[keep], values[keep], strict=True)) for at, values in found if (keep := np.isfinite(values)).any()
    ]
    if not known:
        return np.empty(0), np.empty((0, 0))
    steps = np.array(sorted(set.intersection(*(set(each) for each in known))))
    return steps, np.array([[each[step] for step in steps] for each in known])
