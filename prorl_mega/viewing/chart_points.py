"""Charts of a run that goes on: only the points that a page lacks are sent.

A page says what it has by the text that came along with it: a hash of everything but the points, and their number. The
last point it has is sent again, because it may have been the mean of a bucket that was not full.
"""

from __future__ import annotations

import hashlib
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
    count = max((len(chart["x"]["values"]) for chart in charts), default=0)
    known, _, number = have.partition(":")
    held = int(number) if known == shape and number.isdecimal() and len(number) < 10 else 0
    starts = [max(0, len(chart["x"]["values"]) - (count - held) - 1) if 0 < held <= count else 0 for chart in charts]
    return {
        "have": f"{shape}:{count}",
        "from": starts,
        "charts": [_with_points_from(chart, start) for chart, start in zip(charts, starts, strict=True)],
    }


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
