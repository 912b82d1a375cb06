"""The rows of a run: what every step has left in metrics.jsonl, decisions.jsonl, parity.jsonl, samples/ and loggers.

Rank 0 alone writes. A run that goes on from a checkpoint removes the rows of later steps first.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from prorl_mega import faults
from prorl_mega.run.decisions import NAME as DECISIONS
from prorl_mega.run.decisions import SettingChange, append_decisions, go_on
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.loggers import MetricsLogger, logger_types
from prorl_mega.run.metrics import METRICS, append_metrics, cut_metrics
from prorl_mega.run.parity import PARITY, append_parity, cut_parity
from prorl_mega.run.retention import Retention
from prorl_mega.run.samples import remove_samples_after, write_samples
from prorl_mega.run.spikes import Spikes
from prorl_mega.run.step import StepLog
from prorl_mega.types import Event, Metrics


class RunRecord:
    """Rows and loggers of the run in `directory`. Leaving nothing open: `close`, as often as one likes."""

    def __init__(self, directory: Path, loggers: list[str]) -> None:
        """Raises ConfigError for loggers that do not exist."""
        self._directory = directory
        self._types = logger_types(loggers)
        self._loggers: list[MetricsLogger] = []

    def go_on(
        self, done: int, finished: int, changes: list[SettingChange], retention: Retention, spikes: Spikes
    ) -> Metrics:
        """Remove the rows after step `done` (-1: all) and what else is of steps after `finished`, and write down which
        settings have changed. Returns the last row that is left."""
        last = cut_metrics(self._directory / METRICS, done)
        cut_parity(self._directory / PARITY, done)
        go_on(self._directory / DECISIONS, finished, changes)
        retention.resume(read_rows(self._directory / METRICS), read_rows(self._directory / DECISIONS))
        spikes.resume(read_rows(self._directory / METRICS))
        remove_samples_after(self._directory / "samples", finished)
        self.close()
        self._loggers = [make(self._directory, after=done) for make in self._types]
        return last

    def begin(self, metrics: Metrics) -> None:
        """Write the row of step 0, and forget those of an attempt that ended before the first step."""
        cut_metrics(self._directory / METRICS, -1)
        append_metrics(self._directory / METRICS, 0, metrics)
        for logger in self._loggers:
            logger.append(0, metrics)

    def append(self, step: int, log: StepLog, metrics: Metrics) -> None:
        """Write everything about a step that is over."""
        faults.reach("record")
        append_decisions(self._directory / DECISIONS, step, log.events)
        append_parity(self._directory / PARITY, step, log.parity)
        faults.reach("record/decisions")
        append_metrics(self._directory / METRICS, step, metrics)
        faults.reach("record/metrics")
        write_samples(self._directory / "samples", step, log.rows)
        for logger in self._loggers:
            logger.append(step, metrics)

    def add_event(self, step: int, event: Event) -> None:
        """Write down what happened between two steps."""
        append_decisions(self._directory / DECISIONS, step, (event,))

    def close(self) -> None:
        """Close the loggers, whatever one of them raises."""
        with contextlib.ExitStack() as closing:
            while self._loggers:
                closing.callback(self._loggers.pop().close)
