"""Checked rows of one domain from files, whatever schema they were published in.

read("train.parquet", Domain.math)                      the schema is found by its columns
read("hf:owner/name/train", Domain.code, schema="eurus", skip=0.01)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prorl_mega.data import files
from prorl_mega.data.adapters import SCHEMAS, Schema
from prorl_mega.data.canonical import KNOWN, REQUIRED, Domain, Fields, canonical
from prorl_mega.data.rows import BadRowError, DataRow, Dataset, Fault, OtherDomainError, Tolerance, read_file
from prorl_mega.errors import DataError

AUTO, PLAIN = "auto", "plain"
RowCheck = Callable[[Fields], Fields]
"""A task's check of the canonical fields of a row: it completes them or raises ValueError."""
Watch = Callable[[int, int], None]
LOOKED_AT = 20  # rows from which the columns of a file are learnt
INDEXES = {"__index_level_0__", "Unnamed: 0"}  # what pandas leaves in files
WATCHED = 500  # rows between two calls of a `Watch`


@dataclass(kw_only=True, slots=True)
class Reading:
    """A data set that is being read: its rows one after the other, with ids that are unique among them."""

    schema: str
    domain: Domain
    items: Iterator[DataRow | Fault]


def read(path: str, domain: Domain, *, schema: str = AUTO, skip: float = 0.0, check: RowCheck = dict) -> Dataset:
    """All rows of a data set with the fields of `domain`.

    The first row that is broken raises DataError with its place; with `skip` such rows are left out and counted, and
    DataError is raised when they are more than that share of all rows.
    """
    sources = files.find(path)
    reading = parse(raw_rows(sources), path, domain, schema=schema, check=check)
    tolerance = Tolerance(skip)
    rows = list(tolerance.sift(reading.items))
    if not rows:
        raise DataError(f"{path}: has no problems")
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
    check: RowCheck = dict,
) -> Reading:
    """Raw rows as canonical ones, faults among them. Without a domain the columns decide that as well."""
    head = list(itertools.islice(raw, LOOKED_AT))
    if schema == AUTO:
        schema, domain = detect([item.fields for item in head if isinstance(item, DataRow)], domain, path)
    domain = domain or (SCHEMAS[schema].domain if schema in SCHEMAS else Domain.math)
    convert = _converter(schema, domain)
    items = _unique(_converted(itertools.chain(head, raw), lambda fields: check(convert(fields))))
    return Reading(schema=schema, domain=domain, items=items)


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


def detect(rows: list[Fields], domain: Domain | None, path: str) -> tuple[str, Domain]:
    """The one schema that has these columns. Raises DataError when there is none, or more than one.

    Without a domain, rows with nothing but a prompt and an answer are taken for mathematics.
    """
    columns = {name for fields in rows for name in fields} - INDEXES
    domains = [domain] if domain else list(Domain)
    if not columns:
        return PLAIN, domains[0]  # nothing could be read: the faults say why
    found = [schema for schema in SCHEMAS.values() if schema.domain in domains and schema.fits(columns)]
    if len(found) > 1:
        raise DataError(
            f"{path}: could be {' or '.join(schema.name for schema in found)} by its columns "
            f"({', '.join(sorted(columns))}); choose with schema"
        )
    if found:
        return found[0].name, found[0].domain
    plain = [each for each in domains if columns.issuperset(REQUIRED[each])]
    plain = [each for each in plain if columns <= KNOWN[each]] or plain
    if domain and columns <= KNOWN[domain]:
        plain = [domain]
    if plain:
        return PLAIN, plain[0]
    known = [schema.name for schema in SCHEMAS.values() if schema.domain in domains]
    raise DataError(
        f"{path}: no known schema{f' of {domain}' if domain else ''} has the columns {', '.join(sorted(columns))}. "
        f"Choose one with schema ({', '.join([PLAIN, *known])}), or rename columns to "
        f"{', '.join(REQUIRED[domain]) if domain else 'prompt and answer'}"
    )


def _converter(name: str, domain: Domain) -> RowCheck:
    if name == PLAIN:
        return lambda fields: canonical(fields, domain)
    if name not in SCHEMAS or SCHEMAS[name].domain is not domain:
        known = [schema.name for schema in SCHEMAS.values() if schema.domain is domain]
        raise DataError(f"schema: no {domain} schema is called {name!r}. Known: {', '.join([AUTO, PLAIN, *known])}")
    schema: Schema = SCHEMAS[name]
    return lambda fields: canonical(schema.convert(fields), domain)


def _converted(items: Iterator[DataRow | Fault], convert: RowCheck) -> Iterator[DataRow | Fault]:
    for item in items:
        if isinstance(item, Fault):
            yield item
            continue
        try:
            yield DataRow(item.place, convert(item.fields), item.name)
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
