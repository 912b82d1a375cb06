"""The charts of a run as data: which numbers each one shows, and how. `drawing.py` turns them into SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from prorl_mega.reporting.history import History

MOST_POINTS = 400  # per line; longer runs are averaged in buckets
SHARE = (0.0, 1.0)
FREE = (math.nan, math.nan)
AS_THEY_ARE = ("evaluation/", "policy/kl")  # an average would blur the few evaluations, and the resets


@dataclass(kw_only=True, slots=True, frozen=True)
class Chart:
    """Numbers over steps. `lines` by label are `[n]` float64, NaN where there is none, without the empty ones.

    The lines in `smooth` are drawn as moving averages with the values themselves in the background. `stacked` puts all
    lines on top of each other. `bounds` fixes the range of the y axis (NaN leaves an end free); `resets` are steps to
    mark.
    """

    title: str
    about: str
    unit: str
    steps: np.ndarray  # [n] int64
    lines: dict[str, np.ndarray]
    resets: tuple[int, ...] = ()
    smooth: frozenset[str] = frozenset()
    stacked: bool = False
    bounds: tuple[float, float] = FREE
    logarithmic: bool = False
    names_resets: bool = False  # whether the legend says what the marks are

    @property
    def is_empty(self) -> bool:
        return len(self.steps) == 0 or not self.lines


def all_charts(history: History) -> list[Chart]:
    """Every chart of the report, in the order of the page, the empty ones among them."""
    chart = partial(_lines, history)
    passes = {"pass/train": "training"} | {name: f"held-out {name[11:]}" for name in history.held_out_passes()}
    tasks = {f"reward/{task}": task for task in history.below("reward/") if task != "mean"}
    gap = {"sampler/logprob_gap": "mean", "sampler/logprob_gap_max": "largest"}
    clipped = {"policy/clipped_low": "from below", "policy/clipped_high": "from above"}
    dropped = {name.replace("_", " "): values for name, values in history.below("groups/dropped/").items()}
    mismatch = "Difference of their log-probabilities for the sampled tokens"
    return [
        chart("Reward", "Mean over all sampled answers", "reward", {"reward/mean": "mean"}),
        chart("Pass rates", "Share of answers that are right", "share", passes, bounds=SHARE),
        chart("Reward by task", "Mean over the answers of each task", "reward", tasks if len(tasks) > 1 else {}),
        chart("Entropy", "Next-token entropy, mean over completions", "nats", {"policy/entropy": "entropy"}),
        chart(
            "KL to the reference policy", "Falls to zero at a reset", "nats per token", {"policy/kl": "KL"},
            names_resets=True,
        ),
        chart("Completion length", "Mean over all sampled answers", "tokens", {"length/mean": "mean"}),
        chart(
            "Truncated answers", "Share that reached the length limit", "share",
            {"length/truncated": "truncated at the limit"}, bounds=(0.0, math.nan),
        ),
        _stack(history, "Time per step", "Phases of the loop add up to the step", "seconds", history.phases()),
        chart("Engine against learner", mismatch, "nats", gap, logarithmic=True),
        _stack(history, "Groups left out", "By reason, per step", "groups", dropped),
        chart("Clipped tokens", "Share of tokens whose ratio hit a bound", "share", clipped),
        chart("Gradient norm", "Before clipping", "norm", {"optimizer/grad_norm": "norm"}),
        chart("Memory", "Resident memory of the first rank's process", "MiB", {"memory/resident_mib": "resident"}),
        chart(
            "Speed", "Tokens through the whole loop", "tokens per second", {"seconds/tokens_per_second": "speed"}
        ),
    ]  # fmt: skip


def line_chart(steps: np.ndarray, lines: Mapping[str, np.ndarray], **options: object) -> Chart:
    """A chart of lines; those without a number are left out, long ones averaged."""
    steps, lines = _thinned(steps, {label: each for label, each in lines.items() if np.isfinite(each).any()})
    return Chart(steps=steps, lines=lines, **options)  # type: ignore[arg-type]


def stacked_chart(steps: np.ndarray, layers: Mapping[str, np.ndarray], **options: object) -> Chart:
    """A chart of layers, missing values as 0; the largest at the bottom, where it does not shake the others."""
    filled = {label: np.nan_to_num(values, posinf=0.0, neginf=0.0) for label, values in layers.items()}
    steps, lines = _thinned(steps, {label: values for label, values in filled.items() if values.any()})
    ordered = dict(sorted(lines.items(), key=lambda each: -float(each[1].sum())))
    return Chart(steps=steps, lines=ordered, stacked=True, bounds=(0.0, math.nan), **options)  # type: ignore[arg-type]


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


def short(value: float) -> str:
    """A number for a tooltip: 4 significant digits, exponents for the very small and large."""
    if not math.isfinite(value):
        return "–"
    digits = 4 if value == 0 or 1e-3 <= abs(value) < 99_995 else 3
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _lines(history: History, title: str, about: str, unit: str, names: dict[str, str], **options: object) -> Chart:
    """`names` maps metrics to labels."""
    return line_chart(
        history.steps,
        {label: history.column(name) for name, label in names.items()},
        smooth=frozenset(label for name, label in names.items() if not name.startswith(AS_THEY_ARE)),
        **{"title": title, "about": about, "unit": unit, "resets": tuple(history.resets()), **options},
    )


def _stack(history: History, title: str, about: str, unit: str, layers: dict[str, np.ndarray]) -> Chart:
    return stacked_chart(
        history.steps, layers, title=title, about=about, unit=unit, resets=tuple(history.resets())
    )  # fmt: skip


def _thinned(steps: np.ndarray, lines: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """At most MOST_POINTS points: means over buckets of equal size, at the last step of each."""
    bucket = math.ceil(len(steps) / MOST_POINTS)
    if bucket <= 1:
        return steps, lines
    starts = np.arange(0, len(steps), bucket)

    def mean(values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype(float), starts)
        total = np.add.reduceat(np.where(known, values, 0.0), starts)
        return np.divide(total, count, out=np.full(len(starts), np.nan), where=count > 0)

    return steps[np.minimum(starts + bucket, len(steps)) - 1], {label: mean(each) for label, each in lines.items()}
