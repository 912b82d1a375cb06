"""RowTask: the base of tasks whose problems are the rows of data files.

A subclass names its domain, checks and completes each row when the files are read (`check`), turns a row into a problem
(`pose`) and scores answers. This base reads the files by their schema, counts broken rows, gives ids and shuffles the
rows anew for every pass, the same way after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from prorl_mega.data import columns, files, schemas
from prorl_mega.data.canonical import Domain
from prorl_mega.data.rows import DataRow, Dataset, Fault, OtherDomainError, Tolerance, listed
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import extract
from prorl_mega.tasks.answers.literal import bare, number
from prorl_mega.tasks.registry import Contents, Task, digest, nearest
from prorl_mega.types import Problem

PLACE = "a file, a pattern, a directory or hf:owner/name[@revision][/split]"
Share = Annotated[float, Meta(ge=0, lt=1)]


class RowOptions(Struct, kw_only=True):
    """Options of every task that reads files."""

    path: Annotated[str, Meta(min_length=1, description=PLACE)]
    schema: str = schemas.AUTO  # `python -m prorl_mega.data inspect --help` lists them
    # Columns of canonical fields by name or dotted path, as {prompt: question, answer: reward_model.ground_truth};
    # empty: the names that published sets use.
    columns: dict[str, str] = {}
    skip: Share = 0.0  # share of the rows that may be broken: they are left out and counted; 0: the first is an error
    suffix: str = ""  # appended to every prompt, to ask for the form of the answer
    only: dict[str, str] = {}  # the rows with these values in these columns, as {data_source: apps}; empty: all
    usual_rows: list[int] = []  # how many rows the published file has; another number is said when it is read


class AnswerOptions(RowOptions, kw_only=True):
    """Options of tasks whose rows have a short answer."""

    answer: extract.Form = extract.Form.boxed
    levels: list[str] = []  # the `level` of the rows that are taken; empty: all rows

    def check_reference(self, reference: str) -> None:
        """Raise ValueError for a reference that is not read as itself when it is the answer: nothing would be right."""
        if number(reference) is not None:
            return
        form = extract.Form.boxed if self.answer is extract.Form.stated else self.answer
        found = extract.statement(extract.mark("", reference, form), form)
        if [bare(each) for each in found] != [bare(reference)]:
            raise ValueError(f"the answer {reference[:80]!r} would not be accepted itself, in the form {form.value!r}")

    def own_answers(self, problem: Problem) -> dict[str, str]:
        """The reference in the form of an answer, and the solution if it states an answer in this form."""
        own = {"reference": extract.mark("", problem.entry["answer"], self.answer)}
        states = problem.solution and extract.statement(problem.solution, self.answer)
        return own | ({"solution": problem.solution} if problem.solution and states else {})

    def check_level(self, fields: dict[str, Any]) -> None:
        """Raise OtherDomainError for a level that is not wanted: the row is left out, and does not count as broken."""
        if self.levels and fields.get("level") not in self.levels:
            raise OtherDomainError(f"level {fields.get('level')!r} is not among {', '.join(self.levels)}")


@dataclass(kw_only=True, slots=True, frozen=True)
class Posed:
    """A row as a problem. `entry` is plain JSON data for `score`."""

    prompt: str
    entry: dict[str, Any]
    solution: str | None = None


class RowTask(Task):
    """Rows of files, shuffled anew (from the seed) for every pass over them."""

    domain: ClassVar[Domain]
    scored_fields: ClassVar[tuple[str, ...]] = ()  # what `score` needs of a row, where `pose` does not say it
    options: RowOptions

    def __init__(self, entry: str, options: RowOptions) -> None:
        super().__init__(entry, options)
        known = columns.allowed(self.domain)
        for name in options.columns:
            if name not in known:
                raise ConfigError(
                    f"tasks.mixture.{entry}.options.columns.{name}: a row has no such field{nearest(name, known)}. "
                    f"Valid: {', '.join(known)}"
                )
        self._dataset = Dataset(rows=[])
        self._order = lru_cache(1)(self._shuffled)  # the order of the current pass over the rows

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The canonical fields of a row (`data/canonical.py`), with the task's defaults filled in.

        Raises ValueError with the mistake in the row; file and line are added to it.
        """
        return fields

    def pose(self, fields: dict[str, Any], random: Random) -> Posed:
        """The problem of a row that has passed `check`: `scored_fields` as they are; the suffix is added to its prompt.

        `random` is the same for a row in every pass and in every run, and so must be the prompt: its text decides
        whether the problem is held out.
        """
        entry = {name: fields[name] for name in self.scored_fields}
        return Posed(prompt=fields["prompt"], entry=entry, solution=fields.get("solution"))

    def load(self) -> None:
        options = self.options
        self._dataset = schemas.read(
            options.path, self.domain, schema=options.schema, columns=options.columns, skip=options.skip,
            check=self.check, only=options.only,
        )  # fmt: skip

    def source(self) -> str:
        path = self.options.path
        if path.startswith(files.HUB):
            return f"{path}, from the hub"
        try:
            sources = files.find(path)
        except DataError as error:
            return f"MISSING: {error}"
        options = self.options
        first = schemas.selected(schemas.raw_rows(sources), options.only)
        schema = schemas.parse(first, path, self.domain, schema=options.schema, columns=options.columns).schema
        found = {source.path: source.size() for source in sources}
        size = f"{len(found)} file{'s' * (len(found) > 1)}, {sum(found.values()) / 2**20:,.1f} MiB"
        return f"{path} ({size}, read as {schema})"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Fields of all rows, in the order of the files."""
        return (row.fields for row in self._dataset.rows)

    def contents(self) -> Contents | None:
        return Contents(path=self.options.path, digest=self._dataset.digest, rows=len(self._dataset.rows))

    def leave_out(self, reason: str, details: Mapping[str, str]) -> None:
        """Drop problems as broken rows: DataError for the first one, or for more than the share that `skip` allows."""
        dataset = self._dataset
        rows = len(dataset.rows) + dataset.skipped.total()
        tolerance = Tolerance(self.options.skip, skipped=dataset.skipped, rows=rows)
        for row in dataset.rows:
            if (detail := details.get(self._key(row.fields))) is not None:
                tolerance.add(Fault(row.place, reason, f"{detail}, or let `skip` allow a share of such rows"))
        tolerance.check()
        dataset.rows = [row for row in dataset.rows if self._key(row.fields) not in details]
        self._order.cache_clear()
        if not dataset.rows:
            raise DataError(f"{self.options.path}: has no problems left ({reason})")

    def loaded(self) -> str:
        """The number of rows, and of those that were left out by reason."""
        dataset = self._dataset
        lines = [f"{self.options.path}: {len(dataset.rows)} problems ({dataset.schema})"] if dataset.rows else []
        if dataset.skipped:
            lines.append(f"broken rows left out: {dataset.skipped.total()} ({listed(dataset.skipped)})")
        if dataset.left_out:
            lines.append(f"rows of other kinds left out: {dataset.left_out}")
        rows, usual = len(dataset.rows) + dataset.skipped.total(), self.options.usual_rows
        if usual and rows and rows not in usual:
            lines.append(f"WARNING: {rows} rows, where the published file has {' or '.join(map(str, usual))}")
        return "; ".join(lines)

    def size(self) -> int | None:
        return len(self._dataset.rows)

    def problem(self, index: int, seed: int) -> Problem:
        if not self._dataset.rows:
            self.load()
        epoch, place = divmod(index, len(self._dataset.rows))
        return self._problem(self._dataset.rows[self._order(epoch, seed)[place]].fields)

    def refused(self, item: DataRow | Fault) -> DataRow | Fault:
        """A canonical row as it is, or the fault that `check` finds in it."""
        try:
            return item if isinstance(item, Fault) else DataRow(item.place, self.check(item.fields), item.name)
        except ValueError as error:
            return Fault(item.place, "refused", str(error))

    def in_order(self) -> Iterator[tuple[str, Problem]]:
        """All rows in the order of the files: their places, and their problems."""
        return ((row.place, self._problem(row.fields)) for row in self._dataset.rows)

    def own_answers(self, problem: Problem) -> dict[str, str]:
        """Texts that must earn the full reward: the row's `solution`, and its `reference` in the form of an answer."""
        return {"solution": problem.solution} if problem.solution else {}

    def _problem(self, fields: dict[str, Any]) -> Problem:
        posed = self.pose(fields, Random(digest(f"{self.entry}\n{fields['id']}")))
        return Problem(
            key=self._key(fields),
            task=self.entry,
            prompt=posed.prompt + self.options.suffix,
            entry=posed.entry,
            solution=posed.solution,
            system=fields.get("system", ""),
        )

    def _key(self, fields: dict[str, Any]) -> str:
        return f"{self.entry}/{fields['id']}"

    def _shuffled(self, epoch: int, seed: int) -> list[int]:
        order = list(range(len(self._dataset.rows)))
        Random(digest(f"{self.entry}\n{seed}\n{epoch}")).shuffle(order)
        return order
