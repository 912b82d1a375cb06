"""The summary of a run at the top of its page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from prorl_mega.evaluation.comparison import ALL_TASKS, Comparison
from prorl_mega.reporting.held_out import HeldOutResults
from prorl_mega.reporting.history import History
from prorl_mega.reporting.timeline import TimelineEntry
from prorl_mega.run.console import duration


class Fact(NamedTuple):
    """One number; `tone` is "good", "bad" or ""."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


def heading(history: History) -> str:
    settings = history.settings
    parts = [
        f"model {settings['model.path']}" if "model.path" in settings else "",
        f"{len(history.steps)} of {settings.get('schedule.steps', '?')} steps",
        f"seed {settings['seed']}" if "seed" in settings else "",
    ]
    return " · ".join(part for part in parts if part)


def tone(row: Comparison) -> str:
    return "good" if row.gain.low > 0 else "bad" if row.gain.high < 0 else ""


def facts(history: History, held_out: HeldOutResults, alarms: list[TimelineEntry]) -> list[Fact]:
    """The numbers that there are; `alarms` are those that were raised."""
    found = []
    if alarms:
        newest = f"{alarms[-1].trigger} after step {alarms[-1].step}; Decisions has the answers"
        found.append(Fact("alarms", str(len(alarms)), newest, "bad"))
    rows = held_out.rows
    if held_out.obstacles:
        found.append(Fact("held-out problems", "not compared", "; ".join(held_out.obstacles), "bad"))
    for row in (row for row in rows if row.task == ALL_TASKS or len({each.task for each in rows}) == 1):
        times = f", {row.trained.mean / row.base.mean:.1f}×" if row.base.mean > 0 else ""
        change = f"{row.base.mean:.0%} → {row.trained.mean:.0%}"
        found.append(Fact(f"held-out pass@{row.k}", change, f"{100 * row.gain.mean:+.1f} points{times}", tone(row)))
    for name, label in (("reward/mean", "reward in training"), ("policy/entropy", "entropy")):
        if history.has(name):
            first, last = _ends(history.column(name))
            unit = "nats per token" if name == "policy/entropy" else "first → last tenth"
            found.append(Fact(label, f"{first:.2f} → {last:.2f}", unit))
    if history.has("seconds/step"):
        seconds = history.column("seconds/step") + np.nan_to_num(history.column("seconds/save"))
        note = f"{np.nanmedian(seconds):.1f} s per step (median)"
        found.append(Fact("time in the loop", duration(float(np.nansum(seconds))), note))
    if history.has("reference/reset"):
        resets = history.resets()
        steps = ", ".join(map(str, resets[:4])) + (", …" if len(resets) > 4 else "")
        found.append(Fact("reference resets", str(len(resets)), f"after step {steps}" if steps else "none so far"))
    return found


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Means of the first and of the last tenth of the numbers there are."""
    known = values[np.isfinite(values)]
    part = max(1, len(known) // 10)
    return float(known[:part].mean()), float(known[-part:].mean())
