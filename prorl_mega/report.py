"""A run on one page: curves, base against trained policy, answers before and after, settings.

    python -m prorl_mega.report runs/demo

writes `report.html`, which needs no other file and no network, and `report.png` with the main curves, into the run
directory. It can be called at any time, also while the run is going on.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.errors import exit_status
from prorl_mega.evaluation.comparison import ALL_TASKS, Comparison, compare
from prorl_mega.evaluation.pass_at_k import Estimate
from prorl_mega.reporting.charts import Line, line_chart, stacked_chart
from prorl_mega.reporting.history import History, read_history
from prorl_mega.reporting.page import card, fact, page, section
from prorl_mega.reporting.picture import write_picture
from prorl_mega.run.console import duration, printable
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.storage import write_durably

SHARE = (0.0, 1.0)
MOST_PAIRS = 6  # problems whose answers are shown before and after


def write_report(directory: Path) -> Path:
    """Write the page and the picture of a run directory; returns the page's path.

    Raises ConfigError when the directory is not a run, StorageError when it cannot be written.
    """
    history = read_history(directory)
    rows = _comparison(history)
    body = "".join(
        (
            _heading(history),
            _facts(history, rows),
            section("Training", _training(history)),
            section("Held-out problems: base and trained policy", _table(rows)),
            section("Answers before and after", _answers(history)),
            section("Settings", _settings(history)),
        )
    )
    target = directory / "report.html"
    write_durably(target, page(f"ProRL run {history.name}", body))
    write_picture(history, directory / "report.png")
    return target


def _heading(history: History) -> str:
    settings = history.settings
    parts = [
        f"model {settings['model.path']}" if "model.path" in settings else "",
        f"{len(history.steps)} of {settings.get('schedule.steps', '?')} steps",
        f"seed {settings['seed']}" if "seed" in settings else "",
    ]
    line = " · ".join(escape(printable(part)) for part in parts if part)
    return f'<h1>ProRL run {escape(history.name)}</h1><p class="soft">{line}</p>'


def _facts(history: History, rows: list[Comparison]) -> str:
    facts = []
    for row in (row for row in rows if row.task == ALL_TASKS or len({each.task for each in rows}) == 1):
        times = f", {row.trained.mean / row.base.mean:.1f}×" if row.base.mean > 0 else ""
        tone = "good" if row.gain.low > 0 else "bad" if row.gain.high < 0 else ""
        change = f"{row.base.mean:.0%} → {row.trained.mean:.0%}"
        facts.append(fact(f"held-out pass@{row.k}", change, f"{100 * row.gain.mean:+.1f} points{times}", tone))
    for name, label in (("reward/mean", "reward in training"), ("policy/entropy", "entropy")):
        if history.has(name):
            first, last = _ends(history.column(name))
            unit = "nats per token" if name == "policy/entropy" else "first → last tenth"
            facts.append(fact(label, f"{first:.2f} → {last:.2f}", unit))
    if history.has("seconds/step"):
        seconds = history.column("seconds/step") + np.nan_to_num(history.column("seconds/save"))
        note = f"{np.nanmedian(seconds):.1f} s per step (median)"
        facts.append(fact("time in the loop", duration(float(np.nansum(seconds))), note))
    if history.has("reference/reset"):
        steps = ", ".join(map(str, history.resets()[:4])) + (", …" if len(history.resets()) > 4 else "")
        facts.append(
            fact("reference resets", str(len(history.resets())), f"after step {steps}" if steps else "none so far")
        )
    return f'<div class="facts">{"".join(facts)}</div>' if facts else ""


def _training(history: History) -> str:
    if len(history.steps) == 0:
        return '<p class="soft">No step has been finished yet.</p>'

    def chart(names: dict[str, str], unit: str, **options: Any) -> str:
        lines = [
            Line(label=label, values=history.column(name), smooth=not name.startswith(("evaluation/", "policy/kl")))
            for name, label in names.items()
        ]
        return line_chart(history.steps, lines, unit=unit, resets=history.resets(), **options)

    passes = {"pass/train": "training"} | {name: f"held-out {name[11:]}" for name in history.held_out_passes()}
    tasks = {f"reward/{task}": task for task in history.below("reward/") if task != "mean"}
    truncated = {"length/truncated": "cut off at the limit"}
    mismatch = {
        "sampler/logprob_gap": "mean",
        "sampler/logprob_gap_max": "largest",
    }
    clipped = {"policy/clipped_low": "from below", "policy/clipped_high": "from above"}
    phases = history.phases()
    dropped = {name.replace("_", " "): values for name, values in history.below("groups/dropped/").items()}
    cards = (
        card("Reward", "Mean over all sampled answers", chart({"reward/mean": "mean"}, "reward")),
        card("Pass rates", "Share of answers that are right", chart(passes, "share", bounds=SHARE)),
        card("Reward by task", "Mean over the answers of each task", chart(tasks, "reward") if len(tasks) > 1 else ""),
        card("Entropy", "Of the next token, mean over completions", chart({"policy/entropy": "entropy"}, "nats")),
        card(
            "KL to the reference policy",
            "Falls to zero at a reset",
            chart({"policy/kl": "KL"}, "nats per token", name_resets=True),
        ),
        card("Completion length", "Mean over all sampled answers", chart({"length/mean": "mean"}, "tokens")),
        card(
            "Truncated answers", "Share that reached the length limit", chart(truncated, "share", bounds=(0.0, np.nan))
        ),
        card(
            "Time per step",
            "Seconds by phase",
            stacked_chart(history.steps, _largest_first(phases), unit="seconds", resets=history.resets()),
        ),
        card(
            "Engine against learner",
            "Difference of their log-probabilities for the sampled tokens",
            chart(mismatch, "nats", logarithmic=True),
        ),
        card(
            "Groups left out",
            "By reason, per step",
            stacked_chart(history.steps, _largest_first(dropped), unit="groups", resets=history.resets()),
        ),
        card("Clipped tokens", "Share of tokens whose ratio hit a bound", chart(clipped, "share")),
        card("Gradient norm", "Before clipping", chart({"optimizer/grad_norm": "norm"}, "norm")),
        card("Memory", "Of the first rank's process", chart({"memory/resident_mib": "resident"}, "MiB")),
        card(
            "Speed", "Tokens through the whole loop", chart({"seconds/tokens_per_second": "speed"}, "tokens per second")
        ),
    )
    return f'<div class="grid">{"".join(cards)}</div>'


def _largest_first(layers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Large layers at the bottom, where they do not shake the others."""
    return dict(sorted(layers.items(), key=lambda each: -float(np.nansum(each[1]))))


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Means of the first and of the last tenth of the numbers there are."""
    known = values[np.isfinite(values)]
    part = max(1, len(known) // 10)
    return float(known[:part].mean()), float(known[-part:].mean())


def _comparison(history: History) -> list[Comparison]:
    before, after = history.evaluations.get(BASE), history.evaluations.get(FINAL)
    return compare(before["problems"], after["problems"]) if before is not None and after is not None else []


def _table(rows: list[Comparison]) -> str:
    if not rows:
        return ""
    lines = []
    for row in rows:
        style = ' class="all"' if row.task == ALL_TASKS else ""
        tone = "good" if row.gain.low > 0 else "bad" if row.gain.high < 0 else ""
        lines.append(
            f"<tr{style}><td>{escape(printable(row.task))}</td><td>pass@{row.k}</td><td>{row.problems}</td>"
            f"<td>{_cell(row.base)}</td><td>{_cell(row.trained)}</td>"
            f'<td class="{tone}">{row.gain.mean:+.3f}<small>[{row.gain.low:+.3f}, {row.gain.high:+.3f}]</small></td>'
            f"<td>{_dumbbell(row)}</td></tr>"
        )
    head = "<tr><th>task</th><th></th><th>problems</th><th>base</th><th>trained</th><th>gain</th><th>0 … 1</th></tr>"
    note = "In brackets: 95 % intervals of a bootstrap over problems; the gain is resampled in pairs."
    return (
        f'<div class="card"><ul class="legend"><li class="c6">base</li><li class="c0">trained</li></ul>'
        f'<div class="scroll"><table>{head}{"".join(lines)}</table></div></div>'
        f'<p class="soft"><small>{note}</small></p>'
    )


def _cell(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f}<small>[{estimate.low:.3f}, {estimate.high:.3f}]</small>"


def _dumbbell(row: Comparison) -> str:
    """Both values and their intervals on a line from 0 to 1."""

    def x(value: float) -> float:
        return 6 + 178 * min(1.0, max(0.0, value))

    marks = "".join(
        f'<g class="{colour}"><line class="span" x1="{x(each.low):.1f}" x2="{x(each.high):.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot" cx="{x(each.mean):.1f}" cy="{y}" r="4.5"/></g>'
        for colour, each, y in (("c6", row.base, 7), ("c0", row.trained, 15))
    )
    return f'<svg viewBox="0 0 190 22"><line class="track" x1="6" x2="184" y1="11" y2="11"/>{marks}</svg>'


def _answers(history: History) -> str:
    pairs = _evaluated_pairs(history) or _sampled_pairs(history)
    cards = []
    for problem, sides in pairs[:MOST_PAIRS]:
        answers = "".join(
            f'<div><span class="badge">{escape(printable(side))}</span><pre>{escape(printable(text))}</pre></div>'
            for side, text in sides
        )
        heading = escape(printable(f"{problem.get('task', '')} · {problem.get('key', '')}"))
        prompt = escape(printable(str(problem.get("prompt", ""))))
        cards.append(f'<div class="card"><h3>{heading}</h3><pre>{prompt}</pre><div class="pair">{answers}</div></div>')
    return f'<div class="pairs">{"".join(cards)}</div>' if cards else ""


Pair = tuple[dict[str, Any], list[tuple[str, str]]]


def _evaluated_pairs(history: History) -> list[Pair]:
    """The same held-out problem answered by the base and by the trained policy; different tasks first."""
    before = history.evaluations.get(BASE, {"problems": []})["problems"]
    after = {problem["key"]: problem for problem in history.evaluations.get(FINAL, {"problems": []})["problems"]}
    pairs: list[Pair] = []
    turn: dict[str, int] = {}
    ranked: list[tuple[int, int, Pair]] = []
    for problem in before:
        trained = after.get(problem["key"])
        if trained is None or "completion" not in problem or "completion" not in trained:
            continue
        sides = [
            (f"{label}, {each['solved']} of {each['samples']} right", str(each["completion"]))
            for label, each in (("base", problem), ("trained", trained))
        ]
        task = str(problem["task"])
        turn[task] = turn.get(task, 0) + 1
        ranked.append((turn[task], len(ranked), (problem, sides)))
    pairs += [pair for _, _, pair in sorted(ranked, key=lambda each: each[:2])]
    return pairs


def _sampled_pairs(history: History) -> list[Pair]:
    """Without held-out answers: some from the first and from the last step."""
    pairs: list[Pair] = []
    for step, rows in history.samples.items():
        for row in rows[: MOST_PAIRS // 2]:
            reward = row.get("reward")
            side = f"step {step}, " + ("not scored" if reward is None else f"reward {reward:.2f}")
            pairs.append((row, [(side, str(row.get("completion", "")))]))
    return pairs


def _settings(history: History) -> str:
    if not history.settings:
        return ""
    lines = "\n".join(f"{key}: {value}" for key, value in history.settings.items())
    count = len(history.settings)
    return (
        f'<details class="card"><summary>{count} settings</summary><pre>{escape(printable(lines))}</pre></details>'
        "<footer>All numbers of every step are in metrics.jsonl beside this file.</footer>"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m prorl_mega.report", description="Write report.html of a run.")
    parser.add_argument("directory", type=Path, help="run directory, for example runs/demo")
    directory = parser.parse_args(arguments).directory
    return exit_status(lambda: print(f"wrote {write_report(directory)}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
