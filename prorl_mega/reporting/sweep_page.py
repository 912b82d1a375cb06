"""The page of several runs: their table, which setting mattered, outcomes by value, curves by setting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from prorl_mega.evaluation.setting_effects import SettingEffect
from prorl_mega.reporting import kit
from prorl_mega.reporting.curves import PANELS, curves_of
from prorl_mega.reporting.descriptions import Dot, ScatterChart
from prorl_mega.reporting.study_page import curve_chart
from prorl_mega.reporting.sweep import Sweep
from prorl_mega.reporting.sweep_text import ABOUT, difference, headline, run_table
from prorl_mega.reporting.swept_run import SCORE
from prorl_mega.reporting.swept_settings import SweptSetting, is_logarithmic, shown_value

MOST_CHARTS = 8  # settings that have charts of their own, the clearest first
_GAP = 0.08  # of the distance between two values, so that runs of one value do not lie on each other


def sweep_page(name: str, sweep: Sweep) -> str:
    """The HTML of the page."""
    drawn = [sweep.setting(each.setting) for each in sweep.effects[:MOST_CHARTS]]
    outcomes = {f"outcome-{each.key}": outcome_chart(sweep, each).plain() for each in drawn}
    curves = dict(_curves(sweep, drawn))
    head, rows = run_table(sweep)
    intervals = [value.difference for each in sweep.effects for value in each.values if value.difference is not None]
    body = (
        kit.environment()
        .get_template("sweep_page.html.jinja")
        .render(
            name=name,
            headline=headline(sweep),
            head=head,
            rows=rows,
            effects=[(sweep.setting(each.setting).label, sweep.verdict(each), each) for each in sweep.effects],
            difference=difference,
            shares=_shares,
            about=ABOUT,
            remarks=sweep.remarks(),
            outcomes=list(outcomes),
            curves=list(curves),
            reach=max([0.01, *(abs(end) for each in intervals for end in (each.low, each.high))]),
        )
    )
    return kit.page(name, body, {"charts": outcomes | curves})


def outcome_chart(sweep: Sweep, setting: SweptSetting) -> ScatterChart:
    """A dot per run with a score, over the setting's values: numbers at their place, others side by side."""
    places, ticks = _places(setting)
    groups: dict[str, list[Dot]] = {group: [] for group in setting.order}
    beside: Counter[float] = Counter()
    many = Counter(places)
    for run, x, group, value in zip(sweep.scored, places, setting.group, setting.value, strict=True):
        estimate = run.score(sweep.problems)
        aside = min(_GAP, 0.8 / many[x]) * (beside[x] - (many[x] - 1) / 2) if _is_named(setting) else 0.0
        beside[x] += 1
        groups[group].append(
            Dot(x=x + aside, y=estimate.mean, label=run.name, low=estimate.low, high=estimate.high,
                note=f"{setting.key}={shown_value(value)}")
        )  # fmt: skip
    return ScatterChart(
        title=f"pass@1 by {setting.label}",
        about="A dot is a run; its interval is that of the held-out problems",
        x_label=setting.key,
        y_label="pass@1",
        groups={group: dots for group, dots in groups.items() if dots},
        y_bounds=_bounds([dot for dots in groups.values() for dot in dots]),
        x_ticks=ticks,
    )


def _bounds(dots: Sequence[Dot]) -> tuple[float, float]:
    """Ends of the y axis that no interval goes beyond."""
    low, high = (end(getattr(dot, name) for dot in dots) for end, name in ((min, "low"), (max, "high")))
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _places(setting: SweptSetting) -> tuple[list[float], list[tuple[float, str]]]:
    """The place of every run on the x axis, and the names of places; none where the axis has numbers."""
    if _is_named(setting):
        return [float(setting.order.index(group)) for group in setting.group], [
            (float(place), name) for place, name in enumerate(setting.order)
        ]
    numbers = [float(each) for each in setting.value]
    if not is_logarithmic(numbers):
        return numbers, []
    exponents = range(math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers))) + 1)
    return [math.log10(each) for each in numbers], [(float(each), f"1e{each}") for each in exponents]


def _is_named(setting: SweptSetting) -> bool:
    """Whether every value has a place of its own, and no axis of numbers is needed."""
    return set(setting.group) == {shown_value(each) for each in setting.value}


def _curves(sweep: Sweep, drawn: Sequence[SweptSetting]) -> Any:
    """Charts by name: the score by every setting, the other panels by the clearest one."""
    for number, setting in enumerate(drawn):
        groups = {
            group: [run.history for run, own in zip(sweep.scored, setting.group, strict=True)
                    if own == group and run.history is not None]
            for group in setting.order
        }  # fmt: skip
        curves = curves_of({group: runs for group, runs in groups.items() if runs})
        for metric in PANELS:
            if curves[metric] and (number == 0 or metric == SCORE):
                about = "Mean over the runs of a value that have a score"
                yield (
                    f"{metric} by {setting.key}",
                    curve_chart(metric, curves[metric], about=about, by=setting.key).plain(),
                )
    if not drawn:
        runs = {run.name: [run.history] for run in sweep.known if run.history is not None}
        for metric, arms in curves_of(runs).items():
            if arms:
                yield metric, curve_chart(metric, arms, about="A line per run").plain()


def _shares(effect: SettingEffect) -> str:
    if effect.share is None or effect.chance is None:
        return ""
    return (
        f"{effect.share:.0%} of the spread of the scores' ranks is between its groups of runs; "
        f"shuffled scores stay below {effect.chance:.0%} in 95 of 100 cases"
    )
