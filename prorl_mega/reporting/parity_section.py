"""The section of a run's page on sampler and learner: what the newest report says, in tables and a chart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prorl_mega.reporting.descriptions import LineChart, Series
from prorl_mega.reporting.parity_text import bin_names, nats, position_name, quoted, version_name
from prorl_mega.run.parity import PARITY, latest_parity
from prorl_mega.types import ParityReport, ParitySlice, ParityToken

MOST_WORST, MOST_ROWS, MOST_VERSIONS = 20, 80, 4  # that are shown, whatever a file holds


class SliceRow(NamedTuple):
    """A row of the table of differences, as texts."""

    name: str
    tokens: str
    mean: str
    p50: str
    p99: str
    max: str


class BinRow(NamedTuple):
    """A bin of the histogram: its tokens, in proportion to the fullest bin, and its share of all and of versions."""

    name: str
    tokens: int
    height: float  # 0 to 1
    shares: list[str]


class TokenRow(NamedTuple):
    """A row of the table of worst tokens, as texts that are not escaped yet."""

    difference: str
    sampler: str
    learner: str
    token: str
    before: str
    position: int
    version: int
    key: str


@dataclass(kw_only=True, slots=True, frozen=True)
class ParitySection:
    """A report as the page shows it."""

    step: int
    about: str
    rows: list[SliceRow]
    columns: list[str]  # of the histogram: all, and versions where there are several
    bins: list[BinRow]
    worst: list[TokenRow]
    by_position: LineChart | None  # None where all tokens are in one bin


def parity_section(directory: Path) -> ParitySection | None:
    """The section for the newest report of a run directory; None where there is none."""
    found = latest_parity(directory / PARITY)
    if found is None:
        return None
    step, report = found
    versions = report.by_version if len(report.by_version) > 1 else []
    slices = [
        *((version_name(report, each), each) for each in versions),
        *((position_name(each), each) for each in report.by_position),
    ]
    not_finite = f"; {report.not_finite:,} more have a log-probability that is not finite" if report.not_finite else ""
    return ParitySection(
        step=step,
        about=(
            f"{report.whole.tokens:,} tokens of {report.answers:,} answers, learner's weights of version "
            f"{report.version}{not_finite}."
        ),
        rows=[_row("all tokens", report.whole), *(_row(*each) for each in slices[:MOST_ROWS])],
        columns=["all", *(version_name(report, each) for each in versions[:MOST_VERSIONS])],
        bins=_bins(report, [report.whole, *versions[:MOST_VERSIONS]]),
        worst=[_token(each) for each in report.worst[:MOST_WORST]],
        by_position=_by_position(report.by_position) if len(report.by_position) > 1 else None,
    )


def _bins(report: ParityReport, columns: list[ParitySlice]) -> list[BinRow]:
    """The bins from the first to the last that has tokens."""
    counts = report.whole.counts
    filled = [index for index, count in enumerate(counts) if count] or [0]
    names, fullest = bin_names(report), max(counts)
    return [
        BinRow(
            names[index],
            counts[index],
            counts[index] / max(fullest, 1),
            [f"{each.counts[index] / max(each.tokens, 1):.2%}" for each in columns],
        )
        for index in range(filled[0], min(filled[-1] + 1, filled[0] + MOST_ROWS))
    ]


def _by_position(parts: list[ParitySlice]) -> LineChart:
    columns = {
        "mean": [each.mean for each in parts],
        "median": [each.p50 for each in parts],
        "99 % below": [each.p99 for each in parts],
        "largest": [each.max for each in parts],
    }
    return LineChart(
        title="By position in the answer", about="A point per bin, at its first token, the answer's first being 1",
        unit="nats", x=[each.first + 1 for each in parts], x_label="token", group="position", logarithmic=True,
        logarithmic_x=True, series=[Series(label=label, values=each, exact=True) for label, each in columns.items()],
    )  # fmt: skip


def _row(name: str, part: ParitySlice) -> SliceRow:
    return SliceRow(name, f"{part.tokens:,}", *(nats(each) for each in (part.mean, part.p50, part.p99, part.max)))


def _token(token: ParityToken) -> TokenRow:
    return TokenRow(
        nats(token.difference), nats(token.sampler), nats(token.learner), quoted(token.text), quoted(token.before),
        token.position, token.version, token.key,
    )  # fmt: skip
