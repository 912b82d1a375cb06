"""Gain at the boundary against the boundary of the base, over tasks: the fit of ProRL's figure 3.

A caution belongs to this fit. Gain is last − base, so the base stands on both sides, and a last model that has nothing
to do with the base gives a slope of −1 by itself; errors of the base's estimate pull the slope the same way. Only a
slope that is away from −1 says how much of the base is still there: slope + 1 is the slope of last against base.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
FEWEST_TASKS, FEWEST_BASES = 5, 4  # a line goes through two points anyhow, and a bootstrap repeats points


@dataclass(kw_only=True, slots=True, frozen=True)
class GainFit:
    """gain = intercept + slope · base by least squares; `low` and `high` are the 95 % interval of the slope, from a
    bootstrap over tasks."""

    tasks: int
    slope: float
    intercept: float
    r_squared: float  # NaN where all gains are equal
    low: float
    high: float


def fit_gain(base: list[float], last: list[float], seed: int = 0) -> GainFit | None:
    """The fit over tasks; None for fewer than FEWEST_TASKS, or of fewer than FEWEST_BASES different bases."""
    x, gain = np.asarray(base, dtype=np.float64), np.asarray(last, dtype=np.float64) - np.asarray(base)
    if len(x) < FEWEST_TASKS or different(base) < FEWEST_BASES:
        return None
    slope, intercept = _line(x, gain)
    total = float(((gain - gain.mean()) ** 2).sum())
    rest = float(((gain - intercept - slope * x) ** 2).sum())
    chosen = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    xs, gains = x[chosen], gain[chosen]
    xs = xs - xs.mean(axis=1, keepdims=True)
    spread = (xs**2).sum(axis=1)
    slopes = (xs * gains).sum(axis=1)[spread > 0] / spread[spread > 0]
    low, high = np.quantile(slopes, [0.025, 0.975])
    return GainFit(
        tasks=len(x),
        slope=slope,
        intercept=intercept,
        r_squared=1 - rest / total if total > 1e-12 else math.nan,
        low=float(low),
        high=float(high),
    )


def different(base: list[float]) -> int:
    """The number of values that three digits tell apart."""
    return len({round(each, 3) for each in base})


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the least-squares line."""
    centred = x - x.mean()
    slope = float((centred * (y - y.mean())).sum() / (centred**2).sum())
    return slope, float(y.mean() - slope * x.mean())
