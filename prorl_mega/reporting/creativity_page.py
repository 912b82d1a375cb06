"""The page on the Creativity Index: tables, and answers with what they copied marked. One file, no network."""

from __future__ import annotations

from typing import Any

import numpy as np

from prorl_mega.evaluation.creativity.comparison import CreativityGroup, ScoredEvaluation
from prorl_mega.evaluation.creativity.excerpt import CopiedRun, Excerpt
from prorl_mega.evaluation.creativity.manifest import IndexManifest
from prorl_mega.evaluation.creativity.uniqueness import RANGE
from prorl_mega.reporting import kit
from prorl_mega.reporting.descriptions import Dot, LineChart, ScatterChart, Series

MOST_DOTS = 600  # answers of an evaluation in the chart of lengths
_KEYS = """document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && event.target.matches('mark[data-opens]')) event.target.click();
});"""


def creativity_page(
    groups: list[CreativityGroup],
    evaluations: list[ScoredEvaluation],
    excerpts: list[Excerpt],
    manifest: IndexManifest,
    remarks: list[str],
) -> str:
    """The page as HTML."""
    body = (
        kit.environment()
        .get_template("creativity.html.jinja")
        .render(
            groups=groups,
            excerpts=excerpts,
            manifest=manifest,
            remarks=remarks,
            is_compared=len(evaluations) > 1,
            has_answers=any(len(each.scores) for each in evaluations),
        )
    )
    panels = {
        f"run-{number}-{place}": _panel(run)
        for number, each in enumerate(excerpts)
        for place, run in enumerate(each.runs)
    }
    data = {"charts": _charts(groups, evaluations, excerpts), "panels": panels}
    return kit.page("Creativity Index", body, data, scripts=[_KEYS])


def _panel(run: CopiedRun) -> dict[str, Any]:
    times = f"{run.times:,} time{'s' * (run.times != 1)}"
    parts = []
    for place in run.places:
        parts += [
            kit.heading(f"{place.file}, line {place.line}"),
            kit.text(f"… {place.before}", "soft"),
            kit.pre(place.text),
            kit.text(f"{place.after} …", "soft"),
        ]
    if run.times > len(run.places):
        parts.append(kit.text(f"and {run.times - len(run.places):,} times more", "soft"))
    return kit.panel(f"{run.words} words, {times} in the corpus", parts)


def _charts(
    groups: list[CreativityGroup], evaluations: list[ScoredEvaluation], excerpts: list[Excerpt]
) -> dict[str, Any]:
    shown = {(each.evaluation, each.score.problem, each.score.sample): f"answer-{i}" for i, each in enumerate(excerpts)}
    filled = [row for row in groups[0].rows if row.index.answers]
    return {
        "uniqueness": LineChart(
            title="L-uniqueness",
            about="Share of the words that are in no run of L words or more of the corpus; the index adds them up",
            x=list(RANGE),
            x_label="L, words",
            group="L",
            bounds=(0, 1),
            series=[Series(label=row.evaluation, values=row.uniqueness, exact=True) for row in filled],
        ).plain(),
        "lengths": ScatterChart(
            title="Index and length",
            about=f"At most {MOST_DOTS} answers of an evaluation; a click on one that is shown below leads to it",
            x_label="words",
            y_label="index",
            groups={each.label: _dots(each, shown) for each in evaluations if each.scores},
            y_bounds=(0, len(RANGE)),
        ).plain(),
    }


def _dots(each: ScoredEvaluation, shown: dict[tuple[str, int, int], str]) -> list[Dot]:
    chosen = set(np.linspace(0, len(each.scores) - 1, MOST_DOTS).astype(int).tolist())
    dots = []
    for number, score in enumerate(each.scores):
        opens = shown.get((each.label, score.problem, score.sample), "")
        if number in chosen or opens:
            problem = each.problems[score.problem]
            dots.append(
                Dot(
                    x=score.own,
                    y=float(each.index[number]),
                    label=f"{problem.task} · {problem.key}, answer {score.sample + 1}",
                    note=f"longest run {score.longest} words",
                    opens=opens,
                )
            )
    return dots
