"""The history of a run, read from its directory with any gaps: no steps yet, missing metrics, broken lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.errors import ConfigError
from prorl_mega.run.decisions import NAME as DECISIONS
from prorl_mega.run.decisions import SettingChange, read_changes, read_decisions
from prorl_mega.run.evaluations import read_evaluation
from prorl_mega.run.jsonl import read_objects, read_rows
from prorl_mega.run.metrics import is_number
from prorl_mega.run.provenance import STARTS
from prorl_mega.run.settings import read_settings
from prorl_mega.run.timers import SERVERS_PREFIX, TIMING_PREFIX, VERIFIER_PREFIX
from prorl_mega.types import Event

_NOT_A_PHASE = ("step", "tokens_per_second")


@dataclass(kw_only=True, slots=True)
class History:
    """A run so far. `columns[name]` is `[n]` float64, NaN where a step did not report that number."""

    name: str
    directory: Path
    settings: dict[str, Any]  # dotted keys
    steps: np.ndarray  # [n] int64
    columns: dict[str, np.ndarray]
    start: dict[str, float]  # the numbers of step 0, the policy before training; a run of version 0.1 has none
    evaluations: dict[str, dict[str, Any]]  # by label
    changes: list[SettingChange]  # of settings, when the run went on
    decisions: list[tuple[int, Event]]  # of the controller, and their steps
    samples: dict[int, list[dict[str, Any]]]  # of the first and the last step that has some
    starts: list[dict[str, Any]]  # where its processes came from, first to last; see run/provenance.py

    def column(self, name: str) -> np.ndarray:
        """`[n]`, all NaN when there is no such metric."""
        return self.columns.get(name, np.full(len(self.steps), np.nan))

    def steps_from_start(self) -> np.ndarray:
        """`[n]`, or `[n + 1]` with step 0 where that was recorded; `column_from_start` belongs to it."""
        return np.concatenate([np.zeros(1, np.int64), self.steps]) if self.start else self.steps

    def column_from_start(self, name: str) -> np.ndarray:
        """`column` with the number of step 0 in front where that step was recorded."""
        first = [self.start.get(name, np.nan)] if self.start else []
        return np.concatenate([first, self.column(name)])

    def has(self, name: str) -> bool:
        return bool(np.isfinite(self.column(name)).any())

    def below(self, prefix: str) -> dict[str, np.ndarray]:
        """Columns `<prefix><rest>` by `<rest>`, those with at least one number, in alphabetical order."""
        return {name[len(prefix) :]: self.columns[name] for name in sorted(self.columns) if name.startswith(prefix)}

    def below_from_start(self, prefix: str) -> dict[str, np.ndarray]:
        """`below` with the numbers of step 0 in front where that step was recorded."""
        names = sorted(name for name in {**self.columns, **self.start} if name.startswith(prefix))
        return {name[len(prefix) :]: self.column_from_start(name) for name in names}

    def phases(self) -> dict[str, np.ndarray]:
        """Seconds per phase of the loop; they add up to the whole step."""
        below = self.below(TIMING_PREFIX)
        beside = tuple(each.removeprefix(TIMING_PREFIX) for each in (VERIFIER_PREFIX, SERVERS_PREFIX))
        return {
            name: values for name, values in below.items() if name not in _NOT_A_PHASE and not name.startswith(beside)
        }

    def held_out_passes(self) -> list[str]:
        """Metric names of pass@1 and of the largest k on held-out problems, as far as they were measured."""
        found = [re.fullmatch(r"evaluation/pass@(\d+)", name) for name in {**self.columns, **self.start}]
        ks = sorted(int(match[1]) for match in found if match)
        return [f"evaluation/pass@{k}" for k in dict.fromkeys(ks[:1] + ks[-1:])]

    def resets(self) -> list[int]:
        """Steps after which the reference policy was reset."""
        return [int(step) for step in self.steps[self.column("reference/reset") > 0]]


def read_history(directory: Path) -> History:
    """The history in a run directory. Raises ConfigError when `directory` is not a run."""
    settings_file = directory / "config.yaml"
    if not settings_file.exists() and not (directory / "metrics.jsonl").exists():
        raise ConfigError(f"{directory} is not a run directory: it has neither config.yaml nor metrics.jsonl")
    rows = list(read_rows(directory / "metrics.jsonl"))
    start = next((row for row in rows if row["step"] == 0), {})
    rows = [row for row in rows if row["step"] > 0]
    names = {name for row in rows for name, value in row.items() if name != "step" and is_number(value)}
    columns = {
        name: np.array([row[name] if is_number(row.get(name)) else np.nan for row in rows], dtype=np.float64)
        for name in names
    }
    evaluations = {path.stem: read_evaluation(path) for path in sorted((directory / "evaluation").glob("*.json"))}
    return History(
        name=directory.resolve().name,
        directory=directory,
        settings=read_settings(settings_file) if settings_file.exists() else {},
        steps=np.array([row["step"] for row in rows], dtype=np.int64),
        columns=columns,
        start={name: float(value) for name, value in start.items() if name != "step" and is_number(value)},
        evaluations={label: content for label, content in evaluations.items() if content is not None},
        changes=read_changes(directory / DECISIONS),
        decisions=list(read_decisions(directory / DECISIONS)),
        samples=_first_and_last(directory / "samples"),
        starts=list(read_objects(directory / STARTS)),
    )


def _first_and_last(directory: Path) -> dict[int, list[dict[str, Any]]]:
    paths = sorted(directory.glob("step_*.jsonl"))
    found = {}
    for path in paths[:1] + paths[-1:]:
        rows = list(read_objects(path))
        if rows and re.fullmatch(r"[0-9]{1,10}", path.stem[5:]):
            found[int(path.stem[5:])] = rows
    return found
