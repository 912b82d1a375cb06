"""Reports on the agreement of sampler and learner: `parity.jsonl`, one per line, with the number of its step.

The line of a step is on disk before its row in metrics.jsonl. On resume lines beyond the checkpoint are removed, so a
run that was killed has the same lines as one that was not.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from prorl_mega.run.jsonl import append_durably, read_rows, replace_rows
from prorl_mega.types import ParityReport, ParitySlice

PARITY = "parity.jsonl"
_MOST = 2**53  # of anything that is counted


def append_parity(path: Path, step: int, report: ParityReport | None) -> None:
    """Write the report of a step, if it has one, and force it to the disk. Rank 0 only."""
    if report is not None:
        append_durably(path, [{"step": step} | asdict(report)])


def cut_parity(path: Path, step: int) -> None:
    """Drop the reports of steps beyond `step`, and a last line that a crash has left unfinished. Rank 0 only."""
    if path.exists():
        replace_rows(path, [row for row in read_rows(path) if row["step"] <= step])


def latest_parity(path: Path) -> tuple[int, ParityReport] | None:
    """The newest report that is whole, and its step; None where there is none. The file may hold anything."""
    found = None
    for row in read_rows(path):
        report = _report(row)
        if report is not None and (found is None or row["step"] >= found[0]):
            found = row["step"], report
    return found


def _report(row: dict[str, Any]) -> ParityReport | None:
    try:
        report = msgspec.convert(row, ParityReport)
    except (msgspec.ValidationError, OverflowError):  # no field, or a number that no float holds
        return None
    slices = [report.whole, *report.by_version, *report.by_position]
    counted = [report.version, report.answers, report.not_finite]
    counted += [number for each in report.worst for number in (each.position, each.version, each.token)]
    is_sound = all(_adds_up(each, len(report.edges) + 1) for each in slices) and _are_counts(counted)
    return report if is_sound else None


def _adds_up(part: ParitySlice, bins: int) -> bool:
    is_whole = len(part.counts) == bins and sum(part.counts) == part.tokens
    return is_whole and _are_counts([*part.counts, part.first, part.last])


def _are_counts(numbers: list[int]) -> bool:
    return all(0 <= number <= _MOST for number in numbers)
