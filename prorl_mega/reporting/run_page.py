"""The page of a run, put together from what its directory has."""

from __future__ import annotations

from typing import Any

from prorl_mega.evaluation.comparison import ALL_TASKS
from prorl_mega.reporting import kit
from prorl_mega.reporting.answers import answer_pairs
from prorl_mega.reporting.charts import PARITY, Chart, described
from prorl_mega.reporting.facts import facts, heading, tone
from prorl_mega.reporting.held_out import HeldOutResults, compared_problems, pass_curves, problem_panels
from prorl_mega.reporting.history import History
from prorl_mega.reporting.parity_section import parity_section
from prorl_mega.reporting.provenance_text import provenance_rows
from prorl_mega.reporting.step_panels import PREFIX, KeptSamples, alarm_panels, answer_lists, step_panels
from prorl_mega.reporting.timeline import marks, timeline
from prorl_mega.run.decisions import shown

PASS_CURVES, BY_POSITION = "pass-at-k", "parity-by-position"


def run_page(history: History, charts: list[Chart]) -> str:
    """The HTML of the page. `charts` are those of `all_charts`."""
    held_out = HeldOutResults.of(history)
    entries = timeline(history)
    samples = KeptSamples(history.directory / "samples")
    solved, worst, answer_panels = answer_lists(samples)
    pairs = answer_pairs(history)
    compared = compared_problems(history, [str(problem.get("key")) for problem, _ in pairs])
    of_problems, about_colours = problem_panels(history, compared, held_out.gained, held_out.lost)
    shown_charts = [each for each in charts if not each.is_empty]
    curves = pass_curves(history, held_out)
    parity = parity_section(history.directory)
    data: dict[str, Any] = {
        "charts": {each.name: described(each).plain() for each in shown_charts},
        "panels": step_panels(samples, entries) | alarm_panels(samples, entries) | answer_panels | of_problems,
        "opens": {"step": PREFIX},
        "marks": {"step": marks(entries, PREFIX)},
        "notes": {"step": "This page has no answers of this step; samples/ beside it has those that were kept."},
    }
    if curves is not None:
        data["charts"][PASS_CURVES] = curves.plain()
    if parity is not None and parity.by_position is not None:
        data["charts"][BY_POSITION] = parity.by_position.plain()
    body = (
        kit.environment()
        .get_template("page.html.jinja")
        .render(
            history=history,
            heading=heading(history),
            facts=facts(history, held_out, [each for each in entries if each.alarm]),
            training=[each.name for each in shown_charts if not each.by_task and each.title != PARITY],
            by_task=[each.name for each in shown_charts if each.by_task],
            pass_curves=PASS_CURVES if curves is not None else "",
            parity=parity,
            parity_over_steps=next((each.name for each in shown_charts if each.title == PARITY), ""),
            parity_by_position=BY_POSITION if BY_POSITION in data["charts"] else "",
            held_out=held_out,
            about_colours=about_colours,
            entries=entries,
            sampled_steps=len(samples.steps),
            solved=solved,
            worst=worst,
            tone=tone,
            shown=shown,
            all_tasks=ALL_TASKS,
            pairs=pairs,
            panel_of={each.key: each.id for each in compared},
            provenance=provenance_rows(history),
        )
    )
    return kit.page(f"ProRL run {history.name}", body, data)
