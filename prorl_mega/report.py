"""A run on one page: curves, base against trained policy, answers before and after, settings.

    python -m prorl_mega.report runs/demo

writes `report.html`, which needs no other file and no network, and `report.png` with the main curves, into the run
directory. It can be called at any time, also while the run is going on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jinja2 import ChainableUndefined, Environment, PackageLoader

from prorl_mega.errors import exit_status
from prorl_mega.evaluation import conditions
from prorl_mega.evaluation.comparison import ALL_TASKS, Comparison, compare
from prorl_mega.reporting.answers import answer_pairs
from prorl_mega.reporting.charts import all_charts
from prorl_mega.reporting.drawing import svg, write_picture
from prorl_mega.reporting.history import History, read_history
from prorl_mega.run.console import duration, printable
from prorl_mega.run.decisions import shown
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.storage import write_durably


class Fact(NamedTuple):
    """One number of the summary at the top; `tone` is "good", "bad" or ""."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


class HeldOutResults(NamedTuple):
    """Base and trained policy on held-out problems: `rows`, unless `obstacles`, settings that differ, forbid them."""

    rows: list[Comparison]
    obstacles: list[str]
    remarks: list[str]
    settings: str = ""  # of both, in words

    @classmethod
    def of(cls, history: History) -> Self:
        before, after = history.evaluations.get(BASE), history.evaluations.get(FINAL)
        if before is None or after is None:
            return cls([], [], [])
        settings = before["settings"], after["settings"]
        if obstacles := conditions.incomparable(*settings):
            return cls([], obstacles, [])
        rows = compare(before["problems"], after["problems"])
        return cls(rows, [], conditions.remarks(*settings), conditions.described(settings[1]))


def write_report(directory: Path) -> Path:
    """Write the page and the picture of a run directory; returns the page's path.

    Raises ConfigError when the directory is not a run, StorageError when it cannot be written.
    """
    history = read_history(directory)
    charts = all_charts(history)
    held_out = HeldOutResults.of(history)
    environment = Environment(
        loader=PackageLoader("prorl_mega.reporting", package_path=""),
        autoescape=True,
        finalize=_harmless,
        undefined=ChainableUndefined,
    )
    page = environment.get_template("page.html.jinja").render(
        history=history,
        heading=_heading(history),
        facts=_facts(history, held_out),
        charts=charts,
        svg=svg,
        held_out=held_out,
        tone=_tone,
        shown=shown,
        all_tasks=ALL_TASKS,
        pairs=answer_pairs(history),
    )
    target = directory / "report.html"
    write_durably(target, page)
    write_picture(charts, directory / "report.png")
    return target


def _harmless(value: Any) -> Any:
    """The text of a value without control characters; HTML stays as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _heading(history: History) -> str:
    settings = history.settings
    parts = [
        f"model {settings['model.path']}" if "model.path" in settings else "",
        f"{len(history.steps)} of {settings.get('schedule.steps', '?')} steps",
        f"seed {settings['seed']}" if "seed" in settings else "",
    ]
    return " · ".join(part for part in parts if part)


def _tone(row: Comparison) -> str:
    return "good" if row.gain.low > 0 else "bad" if row.gain.high < 0 else ""


def _facts(history: History, held_out: HeldOutResults) -> list[Fact]:
    facts = []
    rows = held_out.rows
    if held_out.obstacles:
        facts.append(Fact("held-out problems", "not compared", "; ".join(held_out.obstacles), "bad"))
    for row in (row for row in rows if row.task == ALL_TASKS or len({each.task for each in rows}) == 1):
        times = f", {row.trained.mean / row.base.mean:.1f}×" if row.base.mean > 0 else ""
        change = f"{row.base.mean:.0%} → {row.trained.mean:.0%}"
        facts.append(Fact(f"held-out pass@{row.k}", change, f"{100 * row.gain.mean:+.1f} points{times}", _tone(row)))
    for name, label in (("reward/mean", "reward in training"), ("policy/entropy", "entropy")):
        if history.has(name):
            first, last = _ends(history.column(name))
            unit = "nats per token" if name == "policy/entropy" else "first → last tenth"
            facts.append(Fact(label, f"{first:.2f} → {last:.2f}", unit))
    if history.has("seconds/step"):
        seconds = history.column("seconds/step") + np.nan_to_num(history.column("seconds/save"))
        note = f"{np.nanmedian(seconds):.1f} s per step (median)"
        facts.append(Fact("time in the loop", duration(float(np.nansum(seconds))), note))
    if history.has("reference/reset"):
        resets = history.resets()
        steps = ", ".join(map(str, resets[:4])) + (", …" if len(resets) > 4 else "")
        facts.append(Fact("reference resets", str(len(resets)), f"after step {steps}" if steps else "none so far"))
    return facts


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Means of the first and of the last tenth of the numbers there are."""
    known = values[np.isfinite(values)]
    part = max(1, len(known) // 10)
    return float(known[:part].mean()), float(known[-part:].mean())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m prorl_mega.report", description="Write report.html of a run.")
    parser.add_argument("directory", type=Path, help="run directory, for example runs/demo")
    directory = parser.parse_args(arguments).directory
    return exit_status(lambda: print(f"wrote {write_report(directory)}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
