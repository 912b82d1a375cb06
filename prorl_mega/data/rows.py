"""Rows of data files that are not trusted.

Nothing in a file is ever run: JSON, JSON Lines, CSV, Parquet and Arrow are parsed, everything else is refused. A row
that cannot be read becomes a `Fault` with its place and reason, and the reader continues with the next row; the caller
decides whether a fault ends the run or is counted.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn

from prorl_mega.errors import DataError

BATCH = 256  # rows of a Parquet file that are turned into objects at once
LONGEST_ROW = 1 << 26  # bytes of one line: published sets have tests of tens of megabytes
LARGEST_ARRAY = 4 << 30  # bytes of a JSON file that has to be read as a whole
_TABLES = {"data", "rows", "examples", "instances", "items", "problems", "questions", "train", "test", "validation"}
"""Keys of a JSON file that hold rows, as opposed to the messages or tests of one row."""
_BOM = b"\xef\xbb\xbf"


class BadRowError(ValueError):
    """One row is wrong. The message says how; `reason` is a word or two by which such rows are counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class OtherDomainError(ValueError):
    """The row belongs to another domain, because some sets mix them. It is left out and counted, but is not broken."""


@dataclass(slots=True, frozen=True)
class DataRow:
    """One row. `place` is for people ("train.jsonl:12", "train.parquet, row 12"); `name` is its number from 1."""

    place: str
    fields: dict[str, Any]
    name: str = ""


@dataclass(slots=True, frozen=True)
class Fault:
    """A row that cannot be used."""

    place: str
    reason: str
    detail: str
    is_broken: bool = True  # False: the row is of another domain


@dataclass(kw_only=True, slots=True)
class Dataset:
    """The good rows of a data set, all with the canonical fields of one domain."""

    rows: list[DataRow]
    skipped: Counter[str] = field(default_factory=Counter)  # broken rows that were left out, by reason
    left_out: int = 0  # rows of other domains
    digest: str = ""  # hash of the files' contents
    schema: str = ""


class Tolerance:
    """Counts faults, and raises DataError for the first one (`share` 0) or for more than a share of the rows."""

    def __init__(self, share: float, *, rows: int = 0, skipped: Counter[str] | None = None) -> None:
        """A tolerance of `share`; `rows` and `skipped` continue an earlier count."""
        self._share = share
        self.rows = rows
        self._first: Fault | None = None
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self.left_out = 0

    def sift(self, items: Iterable[DataRow | Fault]) -> Iterator[DataRow]:
        """The good rows; at the end, DataError if there were too many faults."""
        for item in items:
            self.rows += 1
            if isinstance(item, DataRow):
                yield item
            else:
                self.add(item)
        self.check()

    def add(self, fault: Fault) -> None:
        if not fault.is_broken:
            self.left_out += 1
            return
        if self._share == 0:
            raise DataError(f"{fault.place}: {fault.detail}")
        self._first = self._first or fault
        self.skipped[fault.reason] += 1

    def check(self) -> None:
        bad = self.skipped.total()
        if self._first is not None and bad > self._share * self.rows:
            raise DataError(
                f"{bad} of {self.rows} rows are broken, more than the bound of {self._share:g} "
                f"({listed(self.skipped)}); the first is {self._first.place}: {self._first.detail}"
            )


def listed(counts: Counter[str]) -> str:
    """Reasons with their counts, for people."""
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())


def read_file(file: IO[bytes], path: str, kind: str) -> Iterator[DataRow | Fault]:
    """Rows of one open file; `kind` is its suffix, `path` its name in messages."""
    return READERS[kind](file, path)


def _read_lines(file: IO[bytes], path: str) -> Iterator[DataRow | Fault]:
    """One JSON object per line; blank lines are left out."""
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        if not line.strip():
            continue
        place = f"{path}:{number}"
        if len(line) > LONGEST_ROW and not line.endswith(b"\n"):
            _skip_line(file)
            yield Fault(place, "too long", f"the line is longer than {LONGEST_ROW} bytes")
            continue
        yield _row(place, number, _parse_object, line, number == 1)


def _row(place: str, number: int, parse: Callable[..., dict[str, Any]], *content: Any) -> DataRow | Fault:
    try:
        return DataRow(place, parse(*content), str(number))
    except BadRowError as error:
        return Fault(place, error.reason, str(error))


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _parse_object(line: bytes, is_first: bool) -> dict[str, Any]:
    """One line as a JSON object. Raises BadRowError."""
    if is_first and line.startswith(_BOM):
        raise BadRowError("byte order mark", "starts with a byte order mark; not JSON: save it as plain UTF-8")
    if b"\0" in line:
        raise BadRowError("NUL bytes", "not JSON: contains NUL bytes, as in files that a crash truncated")
    return _object(_parsed(line, may_be_truncated=not line.endswith(b"\n")))


def _parsed(content: bytes, *, may_be_truncated: bool) -> Any:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadRowError("invalid UTF-8", f"invalid UTF-8 at byte {error.start + 1}") from None
    except BadRowError:
        raise
    except (ValueError, RecursionError) as error:
        if may_be_truncated:
            raise BadRowError("truncated", f"not JSON, and the file ends here: it may be truncated ({error})") from None
        raise BadRowError("not JSON", f"not JSON: {error}") from None


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise BadRowError("not an object", f"must be a JSON object, not {type(data).__name__}")
    return data


def _no_constant(name: str) -> NoReturn:
    raise BadRowError("not a number", f"not JSON: {name} is not allowed")


def _read_json(file: IO[bytes], path: str) -> Iterator[DataRow | Fault]:
    """An array of objects, also inside of an object, or one row, or JSON Lines under another name."""
    first = file.readline(LONGEST_ROW).lstrip(_BOM).strip()
    has_more = bool(file.read(1))
    file.seek(0)
    if (first.endswith(b"}") and has_more) or not first.startswith((b"[", b"{")):
        yield from _read_lines(file, path)
        return
    content = file.read(LARGEST_ARRAY + 1)
    if len(content) > LARGEST_ARRAY:
        raise DataError(f"{path}: an array of more than {LARGEST_ARRAY >> 30} GiB; JSON Lines can be of any size")
    try:
        elements = _parsed(content.removeprefix(_BOM), may_be_truncated=False)
    except BadRowError as error:
        raise DataError(f"{path}: {error}") from None
    for number, data in enumerate(_elements(elements, path), start=1):
        yield _row(f"{path}, row {number}", number, _object, data)


def _elements(content: Any, path: str) -> list[Any]:
    """The rows of an array, or of an array of objects in an object; other objects are a row themselves."""
    if not isinstance(content, dict):
        return list(content)
    tables = {
        name: value
        for name, value in content.items()
        if name in _TABLES and isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    }
    if len(tables) > 1:
        raise DataError(f"{path}: has several lists of rows: {', '.join(tables)}; keep one")
    return next(iter(tables.values()), [content])


def _read_csv(file: IO[bytes], path: str) -> Iterator[DataRow | Fault]:
    """A table with a head; places are lines."""
    reader = csv.DictReader(_decoded_lines(file, path), strict=True)
    try:
        for fields in reader:
            place = f"{path}:{reader.line_num}"
            if None in fields or None in fields.values():
                yield Fault(place, "wrong length", f"must have {len(reader.fieldnames or [])} fields, as the head")
            else:
                known = {name: value for name, value in fields.items() if value != ""}
                yield DataRow(place, known, str(reader.line_num))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a table: {error}") from None


def _decoded_lines(file: IO[bytes], path: str) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_ROW), b""), start=1):
        try:
            yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: invalid UTF-8 at byte {error.start + 1}") from None


def _read_parquet(file: IO[bytes], path: str) -> Iterator[DataRow | Fault]:
    from pyarrow import parquet

    return _from_batches(lambda: parquet.ParquetFile(file).iter_batches(batch_size=BATCH), path, "a Parquet file")


def _read_arrow(file: IO[bytes], path: str) -> Iterator[DataRow | Fault]:
    """The Arrow files that `save_to_disk` of Hugging Face datasets writes."""
    import pyarrow

    return _from_batches(lambda: pyarrow.ipc.open_stream(file), path, "an Arrow stream")


def _from_batches(batches: Callable[[], Iterable[Any]], path: str, what: str) -> Iterator[DataRow | Fault]:
    import pyarrow

    number = 0
    try:
        parts = (batch.slice(start, BATCH) for batch in batches() for start in range(0, batch.num_rows, BATCH))
        for fields in (fields for part in parts for fields in _rows_of(part)):
            number += 1
            place = f"{path}, row {number}"
            if fields is None:
                yield Fault(place, "invalid UTF-8", "invalid UTF-8 in a text")
                continue
            known = {name: value for name, value in fields.items() if value is not None}
            yield DataRow(place, known, str(number))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not {what} that can be read: {str(error)[:200]}") from None


def _rows_of(part: Any) -> list[dict[str, Any] | None]:
    """The rows of a part of a table; None for a row with a broken text."""
    try:
        return list(part.to_pylist())
    except UnicodeDecodeError:
        return [None] if part.num_rows == 1 else [_rows_of(part.slice(i, 1))[0] for i in range(part.num_rows)]


READERS: dict[str, Callable[[IO[bytes], str], Iterator[DataRow | Fault]]] = {
    ".jsonl": _read_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
"""The readers by suffix: formats that hold data and nothing else."""
