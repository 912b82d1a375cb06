"""The record of one step of the loop: phases, numbers, answers, decisions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import msgspec

from prorl_mega import faults
from prorl_mega.documents import parse_json
from prorl_mega.run.console import Console
from prorl_mega.run.decisions import RAISED
from prorl_mega.run.metrics import RESETS, mean_of_additions
from prorl_mega.run.samples import sample_row, sample_rows, with_evidence
from prorl_mega.run.timers import TIMING_PREFIX, PhaseTimer
from prorl_mega.types import Decision, Event, Group, Metrics, ParityReport, Sample


class UnfinishedStep(msgspec.Struct, forbid_unknown_fields=True):
    """The record of a step that is updated and not evaluated, as `StepLog.to_json` writes it."""

    additions: list[dict[str, float]] = []
    rows: list[dict[str, Any]] = []
    suspects: dict[str, list[dict[str, Any]]] = {}
    parity: ParityReport | None = None
    seconds: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1e12)]] = {}


def read_unfinished(text: str) -> UnfinishedStep:
    """Raises ValueError for what `StepLog.to_json` does not write."""
    return msgspec.convert(parse_json(text, finite=False), UnfinishedStep)


class StepLog:
    """Collects the record until the step is over; nothing of a step that fails is written.

    A step that is interrupted after its update, in its evaluation, is finished by a later job: `to_json` is its record
    until then.
    """

    def __init__(self, *, heading: str, console: Console, resets: int, earlier: str = "") -> None:
        """A new record, or one that goes on with what `to_json` returned `earlier`."""
        before = read_unfinished(earlier) if earlier else UnfinishedStep()
        self.timer = PhaseTimer(earlier=before.seconds)
        self.rows: list[dict[str, Any]] = before.rows
        self._suspects = before.suspects
        self.parity: ParityReport | None = before.parity
        self.resets = resets  # reference resets since the run began
        self.is_updated = bool(earlier)
        self._heading = heading
        self._console = console
        self._additions: list[Metrics] = before.additions
        self._decided: Metrics = {}
        self.events: tuple[Event, ...] = ()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Report the seconds inside as `seconds/<name>`; a nested phase counts for itself only."""
        with self.timer.phase(name):
            self._console.status(f"{self._heading}: {name}")
            faults.reach(name)
            yield
            faults.reach(f"{name}/done")
        self._console.status(f"{self._heading}: {self.timer.current}" if self.timer.current else self._heading)

    def begin_update(self) -> None:
        """From here on the policy of the step before is gone: an interruption has to keep what this step has done."""
        self.is_updated = True

    def to_json(self) -> str:
        """Everything so far, as far as a step has it that is not yet evaluated. Values may be infinite or NaN."""
        additions = [{name: float(value) for name, value in each.items()} for each in self._additions]
        parity = {} if self.parity is None else {"parity": asdict(self.parity)}
        answers = {"rows": self.rows} | ({"suspects": self._suspects} if self._suspects else {})
        return json.dumps({"additions": additions, "seconds": self.timer.seconds()} | answers | parity)

    def add(self, metrics: Metrics) -> None:
        """Take in metrics; several values under one name are averaged."""
        self._additions.append(dict(metrics))

    def samples(self, groups: list[Group]) -> None:
        """Keep a few of these answers for people to read."""
        self.rows = sample_rows(groups)

    def suspects(self, found: Mapping[str, Sequence[tuple[Group, Sample]]]) -> None:
        """Remember answers by the alarm that they would be behind; `decide` keeps those of alarms that are raised."""
        self._suspects |= {name: [sample_row(*each) for each in answers] for name, answers in found.items() if answers}

    def keep_parity(self, report: ParityReport) -> None:
        """Keep the report on the agreement of sampler and learner in this step."""
        self.parity = report

    def say(self, text: str) -> None:
        """Print a line about this step."""
        self._console.line(f"{self._heading}: {text}")

    def decide(self, decision: Decision) -> None:
        """Take in a decision of the controller: a reset is a metric, the reasons go to the console and to disk, and the
        answers behind its alarms to those of the step."""
        self.events = decision.events
        raised = {event.trigger for event in decision.events if event.action in RAISED}
        self.rows = with_evidence(self.rows, {name: rows for name, rows in self._suspects.items() if name in raised})
        self.resets += decision.reset_reference
        resets = {"reference/reset": float(decision.reset_reference), RESETS: float(self.resets)}
        self._decided = decision.metrics | resets
        for reason in decision.reasons:
            self.say(reason)

    @property
    def metrics(self) -> Metrics:
        """Everything added so far, without timings: identical on every rank and reproducible."""
        return {name: value for name, value in self._everything().items() if not name.startswith(TIMING_PREFIX)}

    def all_metrics(self, seconds: dict[str, float]) -> Metrics:
        """`metrics`, the timings that were added, and the seconds per phase."""
        return self._everything() | {TIMING_PREFIX + name: value for name, value in seconds.items()}

    def _everything(self) -> Metrics:
        return mean_of_additions(self._additions) | self._decided
