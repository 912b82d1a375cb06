"""The charts of a run as data: which numbers each one shows, and how. The page draws them, and `drawing.py` a PNG."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from prorl_mega.reporting.descriptions import MOST_POINTS, LineChart, Series, bucket_means
from prorl_mega.reporting.history import History
from prorl_mega.run.console import printable
from prorl_mega.run.timers import SERVERS_IDLE, TIMING_PREFIX

DRAWN_POINTS = 400  # per line of a picture, or of a chart with many lines; longer runs are averaged in buckets
MOST_LINES = 8  # that a page shows at first; there may be a hundred tasks
PARITY = "Sampler and learner, token by token"
SHARE, FROM_ZERO = (0.0, 1.0), (0.0, math.nan)


@dataclass(slots=True, frozen=True)
class Chart:
    """Numbers over steps: `lines` by label, each `[n]` float64, NaN where there is none.

    A line is drawn as its moving average with the values themselves in the background; those in `exact` as they are.
    `stacked` puts all lines on top of each other. `bounds` fixes the range of the y axis (NaN leaves an end free).
    `bands` are intervals by the label of their line, lower and upper ends, each `[n]`.
    """

    title: str
    about: str
    unit: str
    lines: dict[str, np.ndarray]
    steps: np.ndarray  # [n] int64
    resets: tuple[int, ...] = ()  # steps to mark
    exact: frozenset[str] = frozenset()
    stacked: bool = False
    bounds: tuple[float, float] = (math.nan, math.nan)
    logarithmic: bool = False
    names_resets: bool = False  # whether the legend says what the marks are
    bands: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    by_task: bool = False  # a line per task

    @property
    def name(self) -> str:
        """An identifier that is made of the title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def is_empty(self) -> bool:
        return len(self.steps) == 0 or not self.lines


def all_charts(history: History) -> list[Chart]:
    """Every chart of the report, in the order of the page, without empty lines; there may be charts without lines."""
    chart = partial(Chart, steps=history.steps, resets=tuple(history.resets()))

    def columns(**names: str) -> dict[str, np.ndarray]:
        return {label.replace("_", " "): history.column(name) for label, name in names.items()}

    passes = {f"held-out {name[11:]}": history.column_from_start(name) for name in history.held_out_passes()}
    rates = {"training": history.column_from_start("pass/train")} | passes
    bands = {f"held-out {name[11:]}": _band(history, name) for name in history.held_out_passes()}
    tasks = {task: values for task, values in history.below("reward/").items() if task != "mean"}
    dropped = {name.replace("_", " "): values for name, values in history.below("groups/dropped/").items()}
    clipped = columns(from_below="policy/clipped_low", from_above="policy/clipped_high")
    gap = columns(mean="sampler/logprob_gap", largest="sampler/logprob_gap_max")
    mismatch = "Difference of their log-probabilities for the sampled tokens"
    charts = (
        chart("Reward", "Mean over all sampled answers", "reward", columns(mean="reward/mean")),
        chart(
            "Pass rates", "Share of answers that are right", "share", rates, steps=history.steps_from_start(),
            bounds=SHARE, exact=frozenset(passes), bands=bands,
        ),
        chart(
            "Entropy", "Next-token entropy, mean over completions", "nats", _entropies(history),
            exact=frozenset(["as the controller sees it"]),
        ),
        chart(
            "KL to the reference policy", "Falls to zero at a reset", "nats per token", columns(KL="policy/kl"),
            exact=frozenset(["KL"]), names_resets=True,  # an average would blur the resets
        ),
        chart("Completion length", "Mean over all sampled answers", "tokens", columns(mean="length/mean")),
        chart(
            "Truncated answers", "Share that reached the length limit", "share",
            columns(truncated_at_the_limit="length/truncated"), bounds=FROM_ZERO,
        ),
        chart("Time per step", "Phases of the loop add up to the step", "seconds", history.phases(), stacked=True),
        *(each(history) for each in (_signs, _idle, _ages)),
        chart("Engine against learner", mismatch, "nats", gap, logarithmic=True),
        _parity(history),
        chart("Groups left out", "By reason, per step", "groups", dropped, stacked=True),
        chart("Clipped tokens", "Share of tokens whose ratio hit a bound", "share", clipped, bounds=FROM_ZERO),
        chart("Gradient norm", "Before clipping", "norm", columns(norm="optimizer/grad_norm")),
        chart("Memory", "Resident in the process of rank 0", "MiB", columns(resident="memory/resident_mib")),
        chart(
            "Speed", "Tokens through the whole loop", "tokens per second", columns(speed="seconds/tokens_per_second")
        ),
        chart(
            "Reward by task", "Mean over the answers of each task", "reward", tasks if len(tasks) > 1 else {},
            by_task=True,
        ),
        *(
            chart(
                f"Held-out {name[11:]} by task", "Share of the problems of each task", "share", of_tasks,
                steps=history.steps_from_start(), bounds=SHARE, exact=frozenset(of_tasks), by_task=True,
            )
            for name in history.held_out_passes()
            if (of_tasks := history.below_from_start(f"{name}/"))
        ),
    )  # fmt: skip
    return [tidied(each) for each in charts]


def _parity(history: History) -> Chart:
    """The numbers of the parity reports, at the steps that have one."""
    names = {"mean": "mean", "median": "p50", "99 % below": "p99", "largest": "max"}
    lines = {label: history.column(f"sampler/parity_{name}") for label, name in names.items()}
    return Chart(
        PARITY, "At steps with a report; every token counts the same", "nats", lines, steps=history.steps,
        resets=tuple(history.resets()), exact=frozenset(lines), logarithmic=True,
    )  # fmt: skip


def _signs(history: History) -> Chart:
    """The numbers that raise alarms."""
    names = {
        "unscorable": "unscorable", "identical to another problem's": "identical", "disputed": "disputed",
        "rise of the reward": "reward_rise",
    }  # fmt: skip
    lines = {label: history.column(f"hack/{name}") for label, name in names.items()}
    return Chart(
        "Signs of an exploited reward", "Shares of answers, and the reward over its past mean", "share or reward",
        lines, steps=history.steps, resets=tuple(history.resets()),
    )  # fmt: skip


def _idle(history: History) -> Chart:
    """Shares of each step. Engines in the learner's ranks work while the learner waits, and never else."""
    step = history.column(f"{TIMING_PREFIX}step")
    with np.errstate(invalid="ignore", divide="ignore"):
        learner, servers = history.column(f"{TIMING_PREFIX}rollout") / step, history.column(SERVERS_IDLE) / step
    engines = np.where(np.isfinite(servers), np.minimum(servers, 1.0), 1 - learner)
    return Chart(
        "Idle", "The learner without samples, engines with nothing to sample", "share of the step",
        {"learner": learner, "engines": engines}, steps=history.steps, resets=tuple(history.resets()), bounds=SHARE,
    )  # fmt: skip


def _ages(history: History) -> Chart:
    """There are numbers in runs whose groups are sampled ahead of training."""
    lines = {"mean": history.column("staleness/mean"), "oldest": history.column("staleness/max")}
    evaluation = history.column("evaluation/lag")
    return Chart(
        "Age of the samples", "Updates of the policy since each token was sampled", "versions",
        lines | ({"held-out, mean": evaluation} if np.isfinite(evaluation).any() else {}),
        steps=history.steps, resets=tuple(history.resets()), bounds=FROM_ZERO,
    )  # fmt: skip


def _entropies(history: History) -> dict[str, np.ndarray]:
    """The entropy of each step and, where the controller filters it, what it makes of it."""
    entropy, filtered = history.column("policy/entropy"), history.column("controller/entropy_filtered")
    differs = bool((np.isfinite(filtered) & (filtered != entropy)).any())
    return {"entropy": entropy} | ({"as the controller sees it": filtered} if differs else {})


def described(chart: Chart) -> LineChart:
    """The chart for a page: steps without any number are left out if they are most."""
    known = np.any([np.isfinite(each) for each in chart.lines.values()], axis=0)
    kept = known if 2 * known.sum() < len(chart.steps) else np.full(len(chart.steps), True)
    series = [
        Series(
            label=label,
            values=values[kept],
            low=chart.bands[label][0][kept] if label in chart.bands else None,
            high=chart.bands[label][1][kept] if label in chart.bands else None,
            exact=label in chart.exact,
            hidden=chart.by_task and index >= MOST_LINES,
        )
        for index, (label, values) in enumerate(chart.lines.items())
    ]
    is_many = len(series) > MOST_LINES
    low, high = (bound if math.isfinite(bound) else None for bound in chart.bounds)
    return LineChart(
        title=chart.title, about=chart.about, unit=chart.unit, x=chart.steps[kept], series=series,
        stacked=chart.stacked, logarithmic=chart.logarithmic, bounds=(low, high), names_resets=chart.names_resets,
        most_points=DRAWN_POINTS if is_many else MOST_POINTS, spikes=not is_many,
    )  # fmt: skip


def _band(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    return history.column_from_start(f"{name}_low"), history.column_from_start(f"{name}_high")


def tidied(chart: Chart) -> Chart:
    """The chart without empty lines and bands.

    In a stacked chart missing values are 0, and the largest layer is at the bottom, where it does not move the others.
    """
    lines = {printable(label): each for label, each in chart.lines.items() if np.isfinite(each).any()}
    bounds = chart.bounds
    if chart.stacked:
        filled = {label: np.nan_to_num(each, posinf=0.0, neginf=0.0) for label, each in lines.items()}
        shown = {label: each for label, each in filled.items() if each.any()}
        lines, bounds = dict(sorted(shown.items(), key=lambda each: -float(each[1].sum()))), FROM_ZERO
    bands = {label: band for label, band in chart.bands.items() if label in lines and np.isfinite(band).any()}
    return replace(chart, lines=lines, bounds=bounds, bands=bands)


def in_buckets(chart: Chart) -> Chart:
    """The chart with at most DRAWN_POINTS points, means over buckets of equal size."""
    bucket = math.ceil(len(chart.steps) / DRAWN_POINTS)
    if bucket <= 1:
        return chart
    starts = np.arange(0, len(chart.steps), bucket)

    ends = chart.steps[np.minimum(starts + bucket, len(chart.steps)) - 1]
    return replace(chart, steps=ends, lines={label: bucket_means(each, starts) for label, each in chart.lines.items()})


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` values, NaN left out; NaN where there is no value at all."""
    known = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def smoothing_width(count: int) -> int:
    """The steps that a smooth line averages over: odd, about a twelfth of the run."""
    return max(1, count // 12) // 2 * 2 + 1
