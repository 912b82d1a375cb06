"""The page of a study: its arms in a table with intervals, and their curves."""

from __future__ import annotations

import numpy as np

from prorl_mega.reporting import kit
from prorl_mega.reporting.arms import ArmResult
from prorl_mega.reporting.curves import PANELS, Curves
from prorl_mega.reporting.descriptions import LineChart, Series


def study_page(name: str, results: list[ArmResult], reference: str, curves: Curves) -> str:
    """The HTML of the page; `reference` is the title of the arm that the others are compared with."""
    charts = {metric: curve_chart(metric, curves[metric]).plain() for metric in PANELS if curves[metric]}
    ks = sorted({k for each in results for k in each.final})
    differences = [each.difference[k] for each in results if each.difference for k in ks if k in each.difference]
    body = (
        kit.environment()
        .get_template("study_page.html.jinja")
        .render(
            name=f"Study {name}",
            results=results,
            reference=reference,
            ks=ks,
            charts=list(charts),
            reach=max([0.01, *(abs(end) for each in differences for end in (each.low, each.high))]),
        )
    )
    return kit.page(f"Study {name}", body, {"charts": charts})


def curve_chart(
    metric: str,
    arms: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    about: str = "Mean over the runs of an arm",
    by: str = "",
) -> LineChart:
    """A line per arm, the mean of its runs, and their range; `arms` are the `Curves` of a metric in PANELS.

    `by`: what the arms are the values of.
    """
    title, unit = PANELS[metric]
    steps = sorted({int(step) for at, _ in arms.values() for step in at})
    # Smoothing would blur the resets in the distance to the reference.
    series = [_series(arm, steps, *found, is_exact=metric == "policy/kl") for arm, found in arms.items()]
    return LineChart(
        title=f"{title} by {by}" if by else title, about=f"{about}, and their range", unit=unit, x=steps, series=series
    )


def _series(arm: str, steps: list[int], at: np.ndarray, values: np.ndarray, *, is_exact: bool) -> Series:
    """The arm's `values` `[runs, n]` at its steps `at` `[n]`, spread over the steps of all arms."""
    place = {step: index for index, step in enumerate(steps)}
    where = [place[int(step)] for step in at]

    def spread(numbers: np.ndarray) -> np.ndarray:
        row = np.full(len(steps), np.nan)
        row[where] = numbers
        return row

    low, high = spread(values.min(axis=0)), spread(values.max(axis=0))
    return Series(label=arm, values=spread(values.mean(axis=0)), low=low, high=high, exact=is_exact)
