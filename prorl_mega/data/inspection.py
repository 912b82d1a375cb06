"""Statistics of a data set: columns, types, lengths, counts."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prorl_mega.data.rows import DataRow, Fault

QUANTILES = (0.0, 0.5, 0.95, 1.0)
BAR = 40  # characters of the longest bar
SHOWN = 300  # characters of a value in an example
_TYPES = {str: "text", list: "list", dict: "object", bool: "yes/no", int: "number", float: "number"}


class Columns:
    """Statistics of raw rows, collected while they are read."""

    def __init__(self) -> None:
        self.rows = 0
        self._kinds: dict[str, Counter[str]] = {}
        self._lengths: dict[str, array[int]] = {}

    def watch(self, items: Iterator[DataRow | Fault]) -> Iterator[DataRow | Fault]:
        for item in items:
            if isinstance(item, DataRow):
                self._add(item.fields)
            yield item

    def _add(self, fields: dict[str, Any]) -> None:
        self.rows += 1
        for name, value in fields.items():
            if value is None:
                continue
            kinds = self._kinds.setdefault(name, Counter())
            kinds[_TYPES.get(type(value), type(value).__name__)] += 1
            if isinstance(value, str | list):
                self._lengths.setdefault(name, array("L")).append(len(value))

    def table(self) -> list[str]:
        """One line per column: share of rows that have it, types, quantiles of the length of its texts and lists."""
        head = ("column", "filled", "type", "length: least", "half", "95 %", "most")
        lines: list[tuple[str, ...]] = [head]
        for name, kinds in self._kinds.items():
            lengths = [str(value) for value in quantiles(self._lengths[name])] if name in self._lengths else [""] * 4
            lines.append((name, f"{kinds.total() / self.rows:.0%}", ", ".join(kinds), *lengths))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        cells = [f"{{:{side}{width}}}" for side, width in zip("<><>>>>", widths, strict=True)]
        return ["  ".join(cells).format(*line).rstrip() for line in lines]


def histogram(counts: array[int]) -> list[str]:
    """Bars over ranges of numbers of words that double."""
    if not counts:
        return []
    bins = Counter(count.bit_length() for count in counts)
    most = max(bins.values())
    lines = []
    for size in range(min(bins), max(bins) + 1):
        low, high = (1 << size >> 1), (1 << size) - 1
        bar = "#" * round(BAR * bins[size] / most)
        lines.append(f"{f'{low}-{high}':>12}  {bar:<{BAR}}  {bins[size]}")
    least, half, nearly, top = quantiles(counts)
    return [f"words of a prompt: least {least}, half {half}, 95 % {nearly}, most {top}", *lines]


def quantiles(values: array[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in QUANTILES]


def example(row: DataRow) -> list[str]:
    lines = [f"first row, {row.place}:"]
    for name, value in row.fields.items():
        text = value if isinstance(value, str) else repr(value)
        text = " ⏎ ".join(text.splitlines())
        lines.append(f"  {name}: {text if len(text) <= SHOWN else text[:SHOWN] + ' …'}")
    return lines
