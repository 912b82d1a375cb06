"""Line and stacked charts as inline SVG. Colours are CSS variables, so one drawing fits light and dark pages.

Every chart carries its numbers in a `data-chart` attribute, from which the page shows the values under the pointer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 68, 14, 14, 40
MOST_POINTS = 400  # per line; longer runs are averaged in buckets
COLOURS = 8


@dataclass(kw_only=True, slots=True, frozen=True)
class Line:
    """`values` is `[n]`, NaN where there is none. A sparse line (evaluations) is drawn with a marker at each value; a
    smooth one as its moving average, with the values themselves in the background."""

    label: str
    values: np.ndarray
    smooth: bool = False


@dataclass(kw_only=True, slots=True, frozen=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(
    steps: np.ndarray,
    lines: list[Line],
    *,
    unit: str,
    resets: list[int],
    bounds: tuple[float, float] | None = None,
    logarithmic: bool = False,
    name_resets: bool = False,
) -> str:
    """A `<div class="chart">` with legend and axes; "" when there is nothing to draw.

    `bounds` fixes the range of the y axis (NaN leaves an end free); `resets` are steps to mark, and `name_resets` says
    in the legend what the marks mean.
    """
    lines = [line for line in lines if np.isfinite(line.values).any()]
    if len(steps) == 0 or not lines:
        return ""
    steps, columns = _thinned(steps, [line.values for line in lines])
    lines = [Line(label=line.label, values=each, smooth=line.smooth) for line, each in zip(lines, columns, strict=True)]
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    if logarithmic and not (finite > 0).any():
        logarithmic = False
    y = _value_scale(finite, bounds, logarithmic)
    x = _step_scale(steps)
    body = [_grid(x, y, unit)]
    body += [_reset_mark(x(step)) for step in resets]
    for index, line in enumerate(lines):
        body.append(_draw_line(line, steps, x, y, index))
    shown = [(line.label, line.values) for line in lines]
    return _chart(steps, shown, body, x, name_lines=len(shown) > 1, name_resets=name_resets and bool(resets))


def stacked_chart(steps: np.ndarray, layers: dict[str, np.ndarray], *, unit: str, resets: list[int]) -> str:
    """Layers on top of each other, missing values as 0, as steps one wide; "" when there is nothing to draw."""
    layers = {label: np.nan_to_num(values, posinf=0.0, neginf=0.0) for label, values in layers.items()}
    layers = {label: values for label, values in layers.items() if values.any()}
    if len(steps) == 0 or not layers:
        return ""
    steps, columns = _thinned(steps, list(layers.values()))
    total = np.sum(columns, axis=0)
    y = _value_scale(np.append(total, 0.0), (0.0, math.nan), False)
    x = _step_scale(steps)
    floor = np.zeros(len(steps))
    shapes = []
    for index, values in enumerate(columns):
        upper = floor + values
        shapes.append(f'<path class="area c{index % COLOURS}" d="{_stairs(steps, floor, upper, x, y)}"/>')
        floor = upper
    body = [_grid(x, y, unit), *shapes, *(_reset_mark(x(step)) for step in resets)]
    return _chart(steps, list(zip(layers, columns, strict=True)), body, x, name_lines=True, name_resets=False)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` values, NaN left out; NaN where there is no value at all."""
    known = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def smoothing_width(count: int) -> int:
    """Steps that a smooth line averages over: odd, about a twelfth of the run."""
    return max(1, count // 12) // 2 * 2 + 1


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers inside [low, high], at most `most`, in steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if span / (power * m) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * index, 12) for index in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis or a tooltip: 4 significant digits, exponents for the very small and large."""
    if not math.isfinite(value):
        return "–"
    digits = 4 if value == 0 or 1e-3 <= abs(value) < 99_995 else 3
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _value_scale(finite: np.ndarray, bounds: tuple[float, float] | None, logarithmic: bool) -> Scale:
    if logarithmic:
        positive = finite[finite > 0]
        low = 10.0 ** math.floor(math.log10(positive.min()))
        high = 10.0 ** math.ceil(math.log10(positive.max()))
        return Scale(low=low, high=high if high > low else low * 10, start=HEIGHT - BOTTOM, end=TOP, logarithmic=True)
    low, high = float(finite.min()), float(finite.max())
    if bounds is not None:
        low = bounds[0] if math.isfinite(bounds[0]) else low
        high = bounds[1] if math.isfinite(bounds[1]) else high
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    fixed_low = bounds is not None and math.isfinite(bounds[0])
    fixed_high = bounds is not None and math.isfinite(bounds[1])
    low = low if fixed_low else low - margin
    high = high if fixed_high and high > low else high + margin
    return Scale(low=low, high=high, start=HEIGHT - BOTTOM, end=TOP)


def _step_scale(steps: np.ndarray) -> Scale:
    low, high = float(steps[0]), float(steps[-1])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return Scale(low=low, high=high, start=LEFT + 4, end=WIDTH - RIGHT - 4)


def _thinned(steps: np.ndarray, columns: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """At most MOST_POINTS points: means over buckets of equal size, at the last step of each."""
    bucket = math.ceil(len(steps) / MOST_POINTS)
    if bucket <= 1:
        return steps, columns
    starts = np.arange(0, len(steps), bucket)
    ends = np.minimum(starts + bucket, len(steps))

    def mean(values: np.ndarray) -> np.ndarray:
        parts = (values[start:end] for start, end in zip(starts, ends, strict=True))
        return np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in parts])

    return steps[ends - 1], [mean(np.where(np.isfinite(values), values, np.nan)) for values in columns]


def _grid(x: Scale, y: Scale, unit: str) -> str:
    base = HEIGHT - BOTTOM
    parts = []
    if y.logarithmic:
        decades = range(round(math.log10(y.low)), round(math.log10(y.high)) + 1)
        every = max(1, math.ceil(len(decades) / 6))
        marks = [(10.0**power, f"1e{power}") for power in decades if power % every == 0]
    else:
        marks = [(value, short(value)) for value in ticks(y.low, y.high, 6)]
    for value, label in marks:
        height = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    for value in ticks(x.low, x.high, 6):
        if value == int(value):
            parts.append(
                f'<text class="tick" x="{x(value):.1f}" y="{base + 17}" text-anchor="middle">{int(value)}</text>'
            )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="unit" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    centre = (TOP + base) / 2
    parts.append(
        f'<text class="unit" transform="translate(12 {centre}) rotate(-90)" text-anchor="middle">{escape(unit)}</text>'
    )
    return "".join(parts)


def _reset_mark(x: float) -> str:
    return f'<line class="reset" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'


def _draw_line(line: Line, steps: np.ndarray, x: Scale, y: Scale, index: int) -> str:
    colour = f"c{index % COLOURS}"
    known = np.isfinite(line.values)
    points = [(x(step), y(value)) for step, value in zip(steps[known], line.values[known], strict=True)]
    if line.smooth and len(points) >= 8:
        average = moving_average(line.values, smoothing_width(len(steps)))
        kept = np.isfinite(average)
        smooth = [(x(step), y(value)) for step, value in zip(steps[kept], average[kept], strict=True)]
        return f'<path class="raw {colour}" d="{_path(points)}"/><path class="line {colour}" d="{_path(smooth)}"/>'
    sparse = (known.sum() <= 40 and known.sum() < len(steps)) or len(points) == 1
    dots = (
        "".join(f'<circle class="dot {colour}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points) if sparse else ""
    )
    return f'<path class="line {colour}" d="{_path(points)}"/>{dots}'


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _stairs(steps: np.ndarray, lower: np.ndarray, upper: np.ndarray, x: Scale, y: Scale) -> str:
    """The outline of a layer: every step covers the interval from halfway before it to halfway after it."""
    middles = (steps[1:] + steps[:-1]) / 2
    edges = np.concatenate([[x.low], middles, [x.high]])
    there, back = [], []
    for index in range(len(steps)):
        left, right = x(float(edges[index])), x(float(edges[index + 1]))
        there += [(left, y(float(upper[index]))), (right, y(float(upper[index])))]
        back += [(left, y(float(lower[index]))), (right, y(float(lower[index])))]
    return _path(there + back[::-1]) + "Z"


def _chart(
    steps: np.ndarray,
    shown: list[tuple[str, np.ndarray]],
    body: list[str],
    x: Scale,
    *,
    name_lines: bool,
    name_resets: bool,
) -> str:
    numbers = {
        "steps": [int(step) for step in steps],
        "pixels": [round(x(float(step)), 1) for step in steps],
        "lines": [{"label": label, "values": [short(float(value)) for value in values]} for label, values in shown],
    }
    legend = [f'<li class="c{index % COLOURS}">{escape(label)}</li>' for index, (label, _) in enumerate(shown)]
    legend = legend if name_lines else []
    if name_resets:
        legend.append('<li class="resets">reference reset</li>')
    keys = f'<ul class="legend">{"".join(legend)}</ul>' if legend else ""
    cross = f'<line class="cross" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(body)}{cross}</svg>'
    return f'<div class="chart" data-chart="{escape(json.dumps(numbers))}">{keys}{svg}<div class="tip"></div></div>'
