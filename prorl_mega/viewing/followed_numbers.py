"""The numbers of metrics.jsonl, kept up to date while a run writes it: all of them, or the few that the list shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.run.jsonl import LATEST_STEP, has_step
from prorl_mega.run.metrics import METRICS, is_number
from prorl_mega.viewing.growing_file import GrowingFile
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.series import GrowingSeries, Numbers

_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | None
_Step = Annotated[int, msgspec.Meta(ge=0, le=LATEST_STEP)]
_TAIL = 1 << 18  # bytes
Row = tuple[int, Numbers]
Take = Callable[[int | None, Numbers], None]


class FollowedNumbers:
    """A run's `GrowingSeries`, and where its file was read to.

    `names` are the metrics that are wanted, None for all: few are read several times faster and take no memory. `take`
    is called with every row, and with a step of None when rows before are void.
    """

    def __init__(
        self, place: Place, *, most_rows: int, names: tuple[str, ...] | None = None, take: Take = lambda *row: None
    ) -> None:
        self._file = GrowingFile(place, METRICS)
        self._parse = _all_numbers if names is None else _some_numbers(names)
        self._take = take
        self._beginnings = 0
        self.series = GrowingSeries(most_rows)

    @property
    def epoch(self) -> tuple[int, int]:
        """Another one when rows were taken back; otherwise they were only added to."""
        return self._file.beginnings, self.series.cuts

    @property
    def is_complete(self) -> bool:
        """Whether everything was read that was there at the last `advance`."""
        return self._file.is_at_end

    def advance(self) -> None:
        """Take in the next part of the file, some megabytes; nothing when there is nothing new."""
        lines = self._file.read()
        if self._file.beginnings != self._beginnings:
            self._beginnings = self._file.beginnings
            self.series.clear()
            self._take(None, {})
        if lines:
            rows = list(_rows(lines, self._parse))
            for row in rows:
                self._take(*row)
            self.series.extend(rows)


def read_tail(place: Place, names: tuple[str, ...]) -> list[Row]:
    """The last rows of a long file."""
    try:
        with place.file(METRICS) as (descriptor, about):
            content = os.pread(descriptor, _TAIL, max(0, about.st_size - _TAIL))
    except OSError:
        return []
    return list(_rows(content[: content.rfind(b"\n") + 1].splitlines()[1:], _some_numbers(names)))


def _rows(lines: list[bytes], parse: Callable[[bytes], Row]) -> Iterator[Row]:
    for line in lines:
        try:
            yield parse(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
            if (row := _careful(line)) is not None:
                yield row


def _all_numbers(line: bytes) -> Row:
    row: dict[str, Any] = _NUMBERS.decode(line)
    step = row.pop("step")
    if not has_step({"step": step}):
        raise KeyError("step")
    return step, row


def _some_numbers(names: tuple[str, ...]) -> Callable[[bytes], Row]:
    fields: list[Any] = [
        (f"_{index}", _Number, msgspec.field(name=name, default=None)) for index, name in enumerate(names)
    ]
    decoder = msgspec.json.Decoder(msgspec.defstruct("_SomeNumbers", [("step", _Step), *fields]))

    def parse(line: bytes) -> Row:
        step, *values = msgspec.structs.astuple(decoder.decode(line))
        return step, dict(zip(names, values, strict=True))

    return parse


def _careful(line: bytes) -> Row | None:
    """The numbers of a row that has other things as well; None for what is no row of a step."""
    try:
        row = parse_json(line)
    except BrokenDocumentError:
        return None
    if not isinstance(row, dict) or not has_step(row):
        return None
    return row["step"], {name: value for name, value in row.items() if name != "step" and is_number(value)}


_NUMBERS = msgspec.json.Decoder(dict[str, _Number])
