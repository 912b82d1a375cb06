"""Checked rows of one domain from files, whatever schema they were published in.

read("train.parquet", Domain.math)                      the schema is found by its columns and what is in them
read("hf:owner/name/train", Domain.code, schema="apps", skip=0.01)
read("own.jsonl", Domain.math, columns={"prompt": "text", "answer": "meta.result"})
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prorl_mega.data import columns as named
from prorl_mega.data import files
from prorl_mega.data.adapters import SAME, SCHEMAS, SPECIFIC, USUAL
from prorl_mega.data.adapters.answers import marked
from prorl_mega.data.adapters.choices import offered
from prorl_mega.data.adapters.schema import Schema, lookup
from prorl_mega.data.canonical import CODE_TESTS, KNOWN, REQUIRED, Domain, Fields, canonical
from prorl_mega.data.rows import BadRowError, DataRow, Dataset, Fault, OtherDomainError, Tolerance, read_file
from prorl_mega.errors import DataError

AUTO, PLAIN = "auto", "plain"
RowCheck = Callable[[Fields], Fields]
"""A task's check of the canonical fields of a row: it completes them or raises ValueError."""
Watch = Callable[[int, int], None]
LOOKED_AT = 100  # rows from which the schema of a file is learnt
INDEXES = {"__index_level_0__", "Unnamed: 0"}  # what pandas leaves in files
WATCHED = 500  # rows between two calls of a `Watch`
_NONE: named.Mapped = {}
_ALL: Mapping[str, str] = {}
_TWINS = {Domain.math: {"choices": "letters"}, Domain.stem: {"answers": "short_answers"}}
"""Schemas that another domain reads under another name."""


@dataclass(kw_only=True, slots=True)
class Reading:
    """A data set that is being read: its rows one after the other, with ids that are unique among them."""

    schema: str
    domain: Domain
    items: Iterator[DataRow | Fault]


def read(
    path: str,
    domain: Domain,
    *,
    schema: str = AUTO,
    columns: named.Mapped = _NONE,
    skip: float = 0.0,
    check: RowCheck = dict,
    only: Mapping[str, str] = _ALL,
) -> Dataset:
    """All rows of a data set with the fields of `domain`.

    The first row that is broken raises DataError with its place; with `skip` such rows are left out and counted, and
    DataError is raised when they are more than that share of all rows. `only` chooses rows, see `selected`.
    """
    sources = files.find(path)
    reading = parse(selected(raw_rows(sources), only), path, domain, schema=schema, columns=columns, check=check)
    tolerance = Tolerance(skip)
    rows = list(tolerance.sift(reading.items))
    if not rows:
        wanted = ", ".join(f"{name}={value}" for name, value in only.items())
        raise DataError(f"{path}: has no problems{f' with {wanted}' if wanted else ''}")
    return Dataset(
        rows=rows,
        skipped=tolerance.skipped,
        left_out=tolerance.left_out,
        digest=files.digest(sources),
        schema=reading.schema,
    )


def parse(
    raw: Iterator[DataRow | Fault],
    path: str,
    domain: Domain | None,
    *,
    schema: str = AUTO,
    columns: named.Mapped = _NONE,
    check: RowCheck = dict,
) -> Reading:
    """Raw rows as canonical ones, faults among them. Without a domain the columns decide that as well.

    `columns` names the columns of canonical fields, where a schema cannot know them.
    """
    head = list(itertools.islice(raw, LOOKED_AT))
    rows = [item.fields for item in head if isinstance(item, DataRow)]
    if columns:
        _need_columns(rows, columns, path)
        rows = [named.mapped(row, columns) for row in rows]
    if schema == AUTO:
        schema, domain = detect(rows, domain, path, usual=bool(columns))
    schema = _named(schema, domain)
    domain = domain or (SCHEMAS[schema].domain if schema in SCHEMAS else Domain.math)
    convert = _converter(schema, domain)
    if columns:
        read_row = convert
        convert = lambda fields: read_row(named.mapped(fields, columns))  # noqa: E731
    items = _unique(_converted(itertools.chain(head, raw), lambda fields: check(convert(fields))))
    return Reading(schema=schema, domain=domain, items=items)


def _named(schema: str, domain: Domain | None) -> str:
    """The name of a schema today, and in this domain; other names as they are."""
    name = SAME.get(schema, schema)
    name = _TWINS.get(domain, {}).get(name, name) if domain else name
    return name if name in SCHEMAS and domain in (None, SCHEMAS[name].domain) else schema


def _need_columns(rows: list[Fields], columns: named.Mapped, path: str) -> None:
    """Raise DataError for a column that no row has."""
    for name, column in columns.items():
        if rows and all(lookup(row, column) is None for row in rows):
            known = ", ".join(sorted({name for row in rows for name in row} - INDEXES))
            raise DataError(f"{path}: columns.{name}: no row has {column!r}; the columns are {known}")


def raw_rows(sources: list[files.Source], watch: Watch = lambda rows, position: None) -> Iterator[DataRow | Fault]:
    """Rows as they are in the files. `watch` is called regularly with the rows and the bytes that were read."""
    rows = before = 0
    for source in sources:
        with source.open() as file:
            for item in read_file(file, source.place, source.kind):
                rows += 1
                if rows % WATCHED == 0:
                    watch(rows, before + file.tell())
                if isinstance(item, DataRow) and len(sources) > 1:
                    item = DataRow(item.place, item.fields, f"{source.name}:{item.name}")
                yield item
        before += source.size()


def selected(raw: Iterator[DataRow | Fault], only: Mapping[str, str]) -> Iterator[DataRow | Fault]:
    """The raw rows whose columns (dotted paths) have these values, as text; faults stay."""
    for item in raw:
        if isinstance(item, Fault) or all(str(lookup(item.fields, name)) == value for name, value in only.items()):
            yield item


def detect(rows: list[Fields], domain: Domain | None, path: str, *, usual: bool = False) -> tuple[str, Domain]:
    """The first schema whose columns the rows have and that converts all of them, or else most of them.

    Of one that is clear by its columns, because it is a set's own or all names are canonical, half are enough.
    `usual`: canonical and usual names only, of rows whose columns a user has named. Without a domain, rows with nothing
    but a prompt and an answer are taken for mathematics. Raises DataError, with the `columns` that would make the rows
    readable, when no schema converts any.
    """
    columns = {name for fields in rows for name in fields} - INDEXES
    if not columns:
        return PLAIN, domain or Domain.math  # nothing could be read: the faults say why
    candidates = list(_candidates(rows, columns, [domain] if domain else list(Domain), usual))
    best, most = None, 0
    for name, each in candidates:
        good, broken = _tried(rows, _converter(name, each))
        is_clear = SCHEMAS[name] in SPECIFIC if name in SCHEMAS else columns <= KNOWN[each]
        if good and (not broken or (is_clear and good >= broken)):  # of those, some rows may be broken
            return name, each
        if good > most:
            best, most = (name, each), good
    if best is None and domain and columns <= KNOWN[domain]:
        best = PLAIN, domain
    if best is None and candidates:
        best = candidates[0]  # the faults say what is wrong with every row
    if best is not None:
        return best
    raise DataError(_refusal(path, columns, domain, None if usual else _proposed(rows, domain)))


def _candidates(
    rows: list[Fields], columns: set[str], domains: list[Domain], usual: bool
) -> Iterator[tuple[str, Domain]]:
    """Schemas with these columns, in the order in which they are tried."""
    fitting = [schema for schema in SCHEMAS.values() if _is_offered(schema, domains) and schema.fits(rows)]
    yield from ((schema.name, schema.domain) for schema in fitting if schema in SPECIFIC and not usual)
    plain = [each for each in domains if columns.issuperset(REQUIRED[each]) and _is_plain(rows, each)]
    yield from ((PLAIN, each) for each in sorted(plain, key=lambda each: -len(columns & KNOWN[each])))
    yield from ((schema.name, schema.domain) for schema in fitting if schema in USUAL)


def _is_offered(schema: Schema, domains: list[Domain]) -> bool:
    return schema.domain in domains and not schema.by_name_only


def _is_plain(rows: list[Fields], domain: Domain) -> bool:
    """Whether what has the canonical names can be what canonical rows have there."""
    if domain in (Domain.math, Domain.stem) and any(marked(str(row.get("answer"))) for row in rows):
        return False
    if domain is Domain.math:
        return not any(len(offered(row)) > 1 for row in rows)
    if domain is Domain.code:
        tests = [test for row in rows if isinstance(row.get("tests"), list) for test in row["tests"]]
        return any(isinstance(test, dict) and set(test) in CODE_TESTS for test in tests)
    return True


def _tried(rows: list[Fields], convert: RowCheck) -> tuple[int, int]:
    """Numbers of rows that are converted, and that are broken; those of other domains are neither."""
    good = broken = 0
    for row in rows:
        try:
            convert(row)
            good += 1
        except OtherDomainError:
            pass
        except BadRowError:
            broken += 1
    return good, broken


def _proposed(rows: list[Fields], domain: Domain | None) -> str | None:
    """A `columns` line that has been tried on these rows."""

    def reads(trial: list[Fields]) -> bool:
        try:
            name, each = detect(trial, wanted, "", usual=True)
        except DataError:
            return False
        return _tried(trial, _converter(name, each)) == (len(trial), 0)

    wanted = domain or Domain.math
    names = named.proposed(rows, wanted, reads)
    return named.line(names) if names else None


def _refusal(path: str, columns: set[str], domain: Domain | None, line: str | None) -> str:
    known = [schema.name for schema in SCHEMAS.values() if domain in (None, schema.domain)]
    wanted = domain or Domain.math
    example = named.line({name: f"COLUMN_{number}" for number, name in enumerate(REQUIRED[wanted], start=1)})
    say = f"If these are the right ones, this option reads it: {line}" if line else f"Name them in an option: {example}"
    return (
        f"{path}: no known schema{f' of {domain}' if domain else ''} has the columns {', '.join(sorted(columns))}. "
        f"{say}. Or choose a schema ({', '.join([PLAIN, *known])}), or rename columns to "
        f"{' and '.join(REQUIRED[wanted])}"
    )


def _converter(name: str, domain: Domain) -> RowCheck:
    if name == PLAIN:
        return lambda fields: canonical(fields, domain)
    if name not in SCHEMAS or SCHEMAS[name].domain is not domain:
        known = [schema.name for schema in SCHEMAS.values() if schema.domain is domain]
        known += [old for old, name in SAME.items() if SCHEMAS[name].domain is domain]
        raise DataError(f"schema: no {domain} schema is called {name!r}. Known: {', '.join([AUTO, PLAIN, *known])}")
    convert = SCHEMAS[name].convert
    return lambda fields: canonical(convert(fields), domain)


def _converted(items: Iterator[DataRow | Fault], convert: RowCheck) -> Iterator[DataRow | Fault]:
    seen: set[str] = set()
    for item in items:
        if isinstance(item, Fault):
            yield item
            continue
        try:
            fields = convert(item.fields)
            if "id" in fields and "id" not in item.fields:  # of a column that may mean something else
                name = fields["id"]
                fields["id"] = f"{name}-{item.name}" if name in seen else name
                seen.add(name)
            yield DataRow(item.place, fields, item.name)
        except OtherDomainError as error:
            yield Fault(item.place, "another domain", str(error), is_broken=False)
        except BadRowError as error:
            yield Fault(item.place, error.reason, str(error))
        except ValueError as error:
            yield Fault(item.place, "refused", str(error))


def _unique(items: Iterator[DataRow | Fault]) -> Iterator[DataRow | Fault]:
    """The rows with ids: a row without one gets its number, after the name of the file if there are several files."""
    seen: dict[str, str] = {}
    for item in items:
        if isinstance(item, DataRow):
            name = item.fields.setdefault("id", item.name)
            if name in seen:
                item = Fault(item.place, "duplicate id", f"id {name!r} was used before, in {seen[name]}")
            else:
                seen[name] = item.place
        yield item
