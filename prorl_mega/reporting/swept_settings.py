"""The settings in which runs differ, each with its values as few words and in an order that means something."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

SEED = "seed"
_SAME_RUN = re.compile(r"(name|root|resume|loggers|cluster)(\..*)?")
"""Settings that say where a run is and who watches it, and nothing about what it does."""
MOST_VALUES = 5  # of a number; more are put into groups
ABSENT = "(absent)"


@dataclass(kw_only=True, slots=True, frozen=True)
class SweptSetting:
    """A setting in which runs differ. `value` and `group` have an entry per run: what it is, and the name under which
    it is compared; they differ for numbers with many values. `order` has the groups, the smallest number first.

    `together`: settings that change whenever this one does, so that nothing can tell them apart.
    """

    key: str
    value: tuple[Any, ...]
    group: tuple[str, ...]
    order: tuple[str, ...]
    together: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.key + (f" (and {len(self.together)} more)" if self.together else "")


def swept_settings(runs: Sequence[dict[str, Any]]) -> list[SweptSetting]:
    """The settings in which runs, each by its dotted settings, differ; their seeds are no such setting."""
    keys = dict.fromkeys(key for run in runs for key in run if key != SEED and not _SAME_RUN.fullmatch(key))
    found: dict[tuple[int, ...], tuple[str, list[str]]] = {}  # by how it divides the runs
    for key in keys:
        texts = [shown_value(run.get(key, ABSENT)) for run in runs]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        if len(numbers) > 1:
            found.setdefault(tuple(numbers[text] for text in texts), (key, []))[1].append(key)
    return [_setting(key, [run.get(key, ABSENT) for run in runs], same[1:]) for key, same in found.values()]


def _setting(key: str, values: list[Any], together: list[str]) -> SweptSetting:
    texts = [shown_value(each) for each in values]
    numbers = [each for each in values if _is_number(each)]
    if len(numbers) == len(values) and len(set(numbers)) > MOST_VALUES:
        groups, order = _in_groups(numbers)
    else:
        groups = texts
        order = [text for _, text in sorted({(_rank(each), text) for each, text in zip(values, texts, strict=True)})]
    return SweptSetting(key=key, value=tuple(values), group=tuple(groups), order=tuple(order), together=tuple(together))


def _in_groups(numbers: list[float]) -> tuple[list[str], list[str]]:
    """Groups of nearly equal size, three of them from nine runs on; equal numbers are never in two."""
    distinct = np.array(sorted(set(numbers)))
    count = 3 if len(numbers) >= 9 else 2
    cuts = sorted({float(np.quantile(numbers, part / count, method="lower")) for part in range(1, count)})
    cuts = [cut for cut in cuts if cut < distinct[-1]]
    place = np.searchsorted(cuts, numbers)
    ends = [[each for each, at in zip(numbers, place, strict=True) if at == index] for index in range(len(cuts) + 1)]
    order = [f"{min(each):.3g} … {max(each):.3g}" for each in ends]
    return [order[at] for at in place], order


def is_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether numbers are spread over more than a factor of 50, and those of a line would lie on each other."""
    distinct = sorted(set(numbers))
    return len(distinct) > 2 and distinct[0] > 0 and distinct[-1] / distinct[0] >= 50 and not _is_even(distinct)


def _is_even(distinct: list[float]) -> bool:
    steps = [after - before for before, after in pairwise(distinct)]
    return max(steps) <= 2 * min(steps)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rank(value: Any) -> tuple[int, float, str]:
    """Nothing first, then numbers, then the rest by the alphabet."""
    if value is None or value == ABSENT:
        return 0, 0.0, str(value)
    return (1, float(value), "") if _is_number(value) else (2, 0.0, shown_value(value))


def shown_value(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
