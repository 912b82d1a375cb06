"""Look at data files, check them, and make clean ones.

    python -m prorl_mega.data inspect      train.parquet                what is in it: schema, columns, lengths, a row
    python -m prorl_mega.data validate     train.parquet --domain code  broken rows, by reason and place
    python -m prorl_mega.data validate     train.parquet --solutions    and rows whose own solution does not pass
    python -m prorl_mega.data dedup        a.jsonl b.jsonl --output c.jsonl
    python -m prorl_mega.data decontaminate train.jsonl --against aime.parquet math500.jsonl --output clean.jsonl

A PATH is a file (.jsonl, .json, .parquet, .csv, .arrow, or a .zip or .tar of them), a pattern, a directory, or a data
set of the Hugging Face hub (hf:owner/name[@revision][/split]). Output is JSON Lines with the canonical fields of the
domain, which every task reads (schema "plain"). Nothing in a file is ever run, and pickles are refused.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from tqdm import tqdm

from prorl_mega.config.command_line import IntermixedParser
from prorl_mega.data import files
from prorl_mega.data.adapters import SAME, SCHEMAS
from prorl_mega.data.canonical import Domain
from prorl_mega.data.columns import allowed
from prorl_mega.data.duplicates import Duplicates
from prorl_mega.data.inspection import Columns, example, histogram
from prorl_mega.data.output import rows_to
from prorl_mega.data.overlap import COMMON, RUN, EvaluationSet
from prorl_mega.data.rows import DataRow, Fault, Tolerance, listed
from prorl_mega.data.schemas import AUTO, Reading, parse, raw_rows
from prorl_mega.data.words import words
from prorl_mega.errors import DataError, exit_status

TASKS = {
    Domain.math: "math", Domain.stem: "stem", Domain.code: "code", Domain.instruction: "ifeval", Domain.logic: "logic",
}  # fmt: skip
"""The task that judges the rows of a domain."""


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    commands = {"inspect": _inspect, "validate": _validate, "dedup": _dedup, "decontaminate": _decontaminate}
    return exit_status(lambda: commands[given.command](given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=IntermixedParser)
    inspect = commands.add_parser("inspect", help="schema, counts, lengths and a row of each data set")
    validate = commands.add_parser(
        "validate", help="broken rows by reason, with places; exit code 21 when there are any"
    )
    dedup = commands.add_parser("dedup", help="prompts that come more than once, within and across data sets")
    clean = commands.add_parser("decontaminate", help="prompts that share text with evaluation sets")
    validate.add_argument(
        "--solutions", action="store_true",
        help="also score the reference and the solution of every row, as training would; both must earn 1",
    )  # fmt: skip
    validate.add_argument("--workers", type=int, default=2, metavar="N", help="verifier processes for it (default 2)")
    for each in (inspect, validate, dedup, clean):
        each.add_argument("paths", nargs="+", metavar="PATH", help="a data set; see the description above")
        each.add_argument(
            "--domain", choices=[str(domain) for domain in Domain], help="found by the columns if left out"
        )
        each.add_argument(
            "--schema", default=AUTO, metavar="NAME",
            help=f"how the rows are written, if their columns do not tell: plain, {', '.join(SCHEMAS)}",
        )  # fmt: skip
        each.add_argument(
            "--columns",
            type=_columns,
            default={},
            metavar="{FIELD: COLUMN}",
            help="columns of canonical fields, as in the option of a task: '{prompt: question, answer: meta.result}'",
        )
        each.add_argument(
            "--skip", type=float, default=0.0, metavar="SHARE", help="share of the rows that may be broken (default 0)"
        )
    for each in (dedup, clean):
        each.add_argument(
            "--output", type=Path, metavar="FILE", help="write the rows that are kept to this .jsonl file"
        )
    for each in (validate, dedup, clean):
        each.add_argument("--show", type=int, default=5, metavar="N", help="examples to print of each kind (default 5)")
    clean.add_argument(
        "--against", nargs="+", required=True, metavar="PATH[=SCHEMA]",
        help="evaluation sets, with a schema where the columns do not tell (minerva.jsonl=minerva)",
    )  # fmt: skip
    clean.add_argument("--words", type=int, default=RUN, metavar="N", help=f"length of a shared run (default {RUN})")
    clean.add_argument(
        "--common", type=int, default=COMMON, metavar="N",
        help=f"runs in more than N evaluation prompts are wording, not a problem (default {COMMON})",
    )  # fmt: skip
    return parser


def _columns(text: str) -> dict[str, str]:
    try:
        names = yaml.safe_load(text.removeprefix("columns:"))
    except yaml.YAMLError:
        names = None
    if not isinstance(names, dict) or not all(isinstance(each, str) for pair in names.items() for each in pair):
        raise argparse.ArgumentTypeError(f"must be written {{prompt: COLUMN, answer: COLUMN}}, not {text!r}")
    known = {name for domain in Domain for name in allowed(domain)}
    if unknown := sorted(set(names) - known):
        raise argparse.ArgumentTypeError(
            f"a row has no field {unknown[0]!r}; the fields are {', '.join(sorted(known))}"
        )
    return names


class Findings:
    """Counts by kind, with the first few examples of each."""

    def __init__(self, show: int) -> None:
        self._show = show
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= self._show:
            self._examples.setdefault(kind, []).append(example)

    def total(self) -> int:
        return self._counts.total()

    def print(self) -> None:
        for kind, count in self._counts.most_common():
            print(f"  {kind}: {count}")
            for text in self._examples.get(kind, []):
                print(f"    {text}")


@contextlib.contextmanager
def _opened(path: str, given: argparse.Namespace, schema: str, columns: Columns | None = None) -> Iterator[Reading]:
    """A data set; standard error shows the progress of reading large ones."""
    sources = files.find(path)
    pause = 0.5 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=sum(source.size() for source in sources), delay=2, mininterval=pause, leave=False,
        bar_format=path + ": {percentage:.0f}%{postfix}, {rate_fmt}, {remaining} left", unit="B", unit_scale=True,
    ) as bar:  # fmt: skip

        def watch(rows: int, position: int) -> None:
            bar.set_postfix_str(f"{rows} rows", refresh=False)
            bar.update(position - bar.n)

        raw = raw_rows(sources, watch)
        domain = Domain(given.domain) if given.domain else None
        yield parse(columns.watch(raw) if columns else raw, path, domain, schema=schema, columns=given.columns)


def _good(path: str, given: argparse.Namespace, schema: str) -> Iterator[DataRow]:
    """The rows of one data set. Raises DataError for more broken ones than `--skip` allows."""
    tolerance = Tolerance(given.skip)
    with _opened(path, given, schema) as reading:
        yield from tolerance.sift(reading.items)
    if tolerance.skipped:
        print(f"{path}: left out {listed(tolerance.skipped)}")


def _inspect(given: argparse.Namespace) -> None:
    for path in given.paths:
        sources = files.find(path)
        size = sum(source.size() for source in sources)
        print(f"{path}: {len(sources)} file{'s' * (len(sources) > 1)}, {size / 1e6:.1f} MB")
        columns, lengths, tolerance = Columns(), array("L"), Tolerance(1.0)
        shown: list[str] = []
        with _opened(path, given, given.schema, columns) as reading:
            for row in tolerance.sift(reading.items):
                lengths.append(len(words(row.fields["prompt"])))
                shown = shown or example(row)
        where = f", {SCHEMAS[reading.schema].source}" if reading.schema in SCHEMAS else ""
        print(f"schema: {reading.schema} ({reading.domain}{where})")
        reasons = f" ({listed(tolerance.skipped)})" if tolerance.skipped else ""
        others = f", of another domain: {tolerance.left_out}" if tolerance.left_out else ""
        print(f"rows: {tolerance.rows}, broken: {tolerance.skipped.total()}{reasons}{others}")
        print("\n".join(["", *columns.table(), "", *histogram(lengths), "", *shown, ""]))


def _validate(given: argparse.Namespace) -> None:
    """Rows that the task of the domain would refuse are broken as well."""
    from prorl_mega.verifiers.own_solutions import row_task  # half a second of imports

    too_many = []
    for path in given.paths:
        findings, rows, others = Findings(given.show), 0, 0
        with _opened(path, given, given.schema) as reading:
            task = row_task(TASKS[reading.domain], path=path)
            for item in map(task.refused, reading.items):
                rows += 1
                if isinstance(item, Fault) and item.is_broken:
                    findings.add(item.reason, f"{item.place}: {item.detail}")
                elif isinstance(item, Fault):
                    others += 1
        broken = findings.total()
        note = f", {others} of another domain" if others else ""
        print(f"{path}: {rows} rows as {reading.schema} ({reading.domain}), {broken} broken{note}")
        findings.print()
        if given.solutions and broken + others < rows:
            broken += _judge_solutions(path, reading, given)
        if broken > given.skip * rows or broken + others == rows:
            too_many.append(f"{path}: {broken} of {rows} rows are broken" if broken else f"{path}: has no problems")
    if too_many:
        raise DataError("; ".join(too_many))


def _judge_solutions(path: str, reading: Reading, given: argparse.Namespace) -> int:
    """The number of rows whose own answers do not earn 1."""
    from prorl_mega.verifiers.own_solutions import judged_rows

    options = {"path": path, "schema": reading.schema, "columns": given.columns, "skip": 1 - 1e-9}
    findings, counts, failed = Findings(given.show), Counter[str](), set[str]()
    for each in judged_rows(TASKS[reading.domain], options, given.workers):
        counts[each.what] += 1
        if each.complaint:
            findings.add(each.kind, f"{each.place}: {each.complaint}")
            failed.add(each.place)
    nothing = counts.pop("", 0)
    what = " and ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()) or "nothing"
    print(f"{path}: judged {what}; rows that fail: {len(failed)}" + f", that bring nothing: {nothing}" * (nothing > 0))
    findings.print()
    return len(failed)


def _dedup(given: argparse.Namespace) -> None:
    duplicates = Duplicates()

    def repeats(row: DataRow) -> tuple[str, str] | None:
        found = duplicates.add(row)
        return (found[0], f"{row.place} repeats {found[1]}") if found else None

    _filter(given, repeats, "repeat others")


def _decontaminate(given: argparse.Namespace) -> None:
    if given.words < 2:
        raise DataError(f"--words: must be at least 2, not {given.words}")
    evaluation = EvaluationSet(given.words, given.common)
    for place in given.against:
        path, equals, schema = place.rpartition("=")
        if not equals or schema not in SCHEMAS | SAME:
            path, schema = place, AUTO
        for row in _good(path, argparse.Namespace(domain=None, skip=given.skip, columns={}), schema):
            evaluation.add(row.fields["prompt"], row.place)

    def overlaps(row: DataRow) -> tuple[str, str] | None:
        found = evaluation.find(row.fields["prompt"])
        kind = "the whole prompt" if found and found.whole else f"{given.words} words in a row"
        return (kind, f"{row.place} ~ {found.place}: {found.text[:120]}") if found else None

    _filter(given, overlaps, f"overlap with {len(evaluation)} evaluation prompts")


def _filter(given: argparse.Namespace, objection: Callable[[DataRow], tuple[str, str] | None], what: str) -> None:
    """Write the rows without an objection (its kind and an example) and print how many others there are."""
    findings, kept, several = Findings(given.show), 0, len(given.paths) > 1
    read = ((i, Path(path), row) for i, path in enumerate(given.paths, 1) for row in _good(path, given, given.schema))
    with rows_to(given.output) as write:
        for number, path, row in read:
            if several:  # ids begin with the name of their data set, so that they stay unique
                row.fields["id"] = f"{number}-{path.stem}/{row.fields['id']}"
            if found := objection(row):
                findings.add(*found)
            else:
                kept += 1
                write(row.fields)
    total = kept + findings.total()
    print(f"{total} rows, {findings.total()} {what}, {kept} kept" + (f" in {given.output}" if given.output else ""))
    findings.print()


if __name__ == "__main__":
    sys.exit(main())
