"""The results of an evaluation as a small table for a terminal."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from prorl_mega.run.console import printable

_NAME = "evaluation/"
_PASS = re.compile(r"evaluation/pass@(\d+)")


def score_lines(metrics: Mapping[str, float], answers: Path) -> list[str]:
    """A line of names, one for all tasks, and one per task if there are several: pass@k for the smallest and the
    largest k, and of the rest what was measured. `answers`: the folder that they are kept in."""
    sizes = sorted(int(match[1]) for name in metrics if (match := _PASS.fullmatch(name)))
    most = sizes[-1] if sizes else 0
    columns = {f"pass@{k}": f"pass@{k}" for k in dict.fromkeys((*sizes[:1], *sizes[-1:]))} | {
        f"maj@{most}": f"maj@{most}",
        f"relaxed_pass@{sizes[0] if sizes else 1}": "any form",
        "reward": "reward",
        "length": "tokens",
        "truncated": "truncated",
    }
    shown = {name: title for name, title in columns.items() if _NAME + name in metrics}
    tasks = sorted({name.rpartition("/")[2] for name in metrics if name.startswith(f"{_NAME}reward/")})
    rows = [["", *shown.values()], ["all tasks", *(_value(metrics, name) for name in shown)]]
    if len(tasks) > 1:
        rows += [[printable(task), *(_value(metrics, f"{name}/{task}") for name in shown)] for task in tasks]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return [*lines, *_remarks(metrics, answers)]


def _value(metrics: Mapping[str, float], name: str) -> str:
    value = metrics.get(_NAME + name, math.nan)
    if not math.isfinite(value):
        return "–"
    text = f"{value:.1f}" if name.startswith("length") else f"{value:.3f}"
    low, high = (metrics.get(f"{_NAME}{name}_{end}") for end in ("low", "high"))
    return text if low is None or high is None else f"{text} [{low:.3f}, {high:.3f}]"


def _remarks(metrics: Mapping[str, float], answers: Path) -> list[str]:
    """Sentences on what is not in the numbers."""
    lines = []
    if errors := int(metrics.get(f"{_NAME}infra_errors", 0)):
        lines.append(
            f"{errors:,} answers have no verdict: their verifier failed; this tries again: "
            f"python -m prorl_mega.evaluate --regrade {shlex.quote(str(answers))} --missing"
        )
    return lines
