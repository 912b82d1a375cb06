"""Charts of a run that goes on: only the points that a page lacks are sent.

A page says what it has by the text that came along with it: a hash of everything but the points, and for every chart
their number and where they lie. The last point it has is sent again: it may have been the mean of a bucket that was not
full.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

Description = dict[str, Any]
"""A chart as `reporting/descriptions.py` gives it."""

_OF_X, _OF_SERIES = ("values", "first"), ("values", "low", "high", "least", "most")


def lacking(charts: list[Description], epoch: tuple[int, ...], have: str) -> dict[str, Any]:
    """`{"have", "from", "charts"}`: in each chart the points from place `from[i]` on, all of them where that is 0.

    `epoch` is another one when points that were sent before are void; `have` is that of the last answer, or "".
    """
    shapes = [_without_points(chart) for chart in charts]
    shape = hashlib.sha256(msgspec.json.encode([epoch, shapes])).hexdigest()[:16]
    known, _, held = have.partition(":")
    before = held.split(".") if known == shape else []
    before = before if len(before) == len(charts) else [""] * len(charts)
    starts = [_start(chart, each) for chart, each in zip(charts, before, strict=True)]
    return {
        "have": f"{shape}:{'.'.join(_held(chart, len(chart['x']['values'])) for chart in charts)}",
        "from": starts,
        "charts": [_with_points_from(chart, start) for chart, start in zip(charts, starts, strict=True)],
    }


def _held(chart: Description, count: int) -> str:
    """The number of points, and a hash of the x of all but the last: with other buckets all of them are others."""
    return f"{count}-{hashlib.sha256(msgspec.json.encode(chart['x']['values'][: count - 1])).hexdigest()[:8]}"


def _start(chart: Description, held: str) -> int:
    """The first place whose point a page lacks."""
    number = held.partition("-")[0]
    count = int(number) if re.fullmatch("[0-9]{1,6}", number) else 0
    return count - 1 if 0 < count <= len(chart["x"]["values"]) and _held(chart, count) == held else 0


def _without_points(chart: Description) -> Description:
    x = {name: value for name, value in chart["x"].items() if name not in _OF_X}
    series = [{name: value for name, value in each.items() if name not in _OF_SERIES} for each in chart["series"]]
    return chart | {"x": x | {"has": [name for name in _OF_X if name in chart["x"]]}, "series": series}


def _with_points_from(chart: Description, start: int) -> Description:
    if start == 0:
        return chart
    return {
        "x": {name: chart["x"][name][start:] for name in _OF_X if name in chart["x"]},
        "series": [{name: each[name][start:] for name in _OF_SERIES if name in each} for each in chart["series"]],
    }
