"""The report on sampler and learner in words and columns: for the console, and for the page."""

from __future__ import annotations

import json
from itertools import pairwise

from prorl_mega.run.console import printable
from prorl_mega.types import ParityReport, ParitySlice, ParityToken

BAR = 40  # characters of the longest bar of a histogram
SHOWN = 32  # characters of the text before a token, on the console


def parity_lines(report: ParityReport) -> list[str]:
    """The whole report, for a console."""
    head = f"  {'|difference|, nats':<22} {'tokens':>11} {'mean':>9} {'p50':>9} {'p99':>9} {'max':>9}"
    lines = [head, _row("all tokens", report.whole)]
    if len(report.by_version) > 1:
        lines += [_row(version_name(report, each), each) for each in report.by_version]
    lines += [_row(position_name(each), each) for each in report.by_position]
    if report.not_finite:
        lines.append(f"  {'not finite':<22} {report.not_finite:>11,}")
    lines += ["", *_histogram(report)]
    if report.worst:
        lines += ["", f"  {'worst':>9} {'sampler':>9} {'learner':>9} {'position':>9}  token after what, problem"]
        lines += [_worst(each) for each in report.worst]
    return [*lines, ""]


def position_name(part: ParitySlice) -> str:
    """ "position 0", "positions 4 to 7"."""
    return f"position {part.first}" if part.first == part.last else f"positions {part.first} to {part.last}"


def version_name(report: ParityReport, part: ParitySlice) -> str:
    """ "version 12", "version 11, 1 behind"."""
    lag = report.version - part.first
    return f"version {part.first}" + (f", {lag} behind" if lag else "")


def bin_names(report: ParityReport) -> list[str]:
    """The bins of `ParitySlice.counts` in words, [edges + 1]."""
    edges = [f"{each:g}" for each in report.edges]
    if not edges:
        return ["any"]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", *between, f"{edges[-1]} and more"]


def nats(value: float | None) -> str:
    """A difference or log-probability; None stands for one that is not finite."""
    return "not finite" if value is None else f"{value:.3g}"


def quoted(text: str) -> str:
    """Text of a model on one line, its spaces and line ends to be seen."""
    return json.dumps(printable(text), ensure_ascii=False)


def _row(name: str, part: ParitySlice) -> str:
    numbers = " ".join(f"{each:>9.2g}" for each in (part.mean, part.p50, part.p99, part.max))
    return f"  {name:<22} {part.tokens:>11,} {numbers}"


def _histogram(report: ParityReport) -> list[str]:
    """A bar for every bin from the first to the last that has tokens."""
    counts, most = report.whole.counts, max(report.whole.counts)
    filled = [index for index, count in enumerate(counts) if count]
    if not filled:
        return []
    names = bin_names(report)
    return [
        f"  {names[index]:<22} {counts[index]:>11,} {'█' * round(BAR * counts[index] / most)}".rstrip()
        for index in range(filled[0], filled[-1] + 1)
    ]


def _worst(token: ParityToken) -> str:
    numbers = " ".join(f"{nats(each):>9}" for each in (token.difference, token.sampler, token.learner))
    before = printable(token.before)
    cut = f"…{before[-SHOWN:]}" if len(before) > SHOWN else before
    return f"  {numbers} {token.position:>9}  {quoted(token.text)} after {quoted(cut)}, {printable(token.key)}"
