"""The controller's decisions and the reasons for them: `decisions.jsonl`, one event per line.

    {"step": 140, "trigger": "plateau", "action": "reset", "numbers": {"score": 0.41, "best": 0.42, …},
     "limits": {"patience": 8, "min_delta": 0.0}, "text": "reference reset: evaluation/pass@1=0.41 after …"}

Events of a step are on disk before its row in metrics.jsonl. On resume events beyond the checkpoint are removed.
Settings that were changed when the run went on after a step have lines among them:

    {"step": 140, "trigger": "settings", "action": "change", "key": "optimizer.learning_rate", "before": 2e-06,
     "after": 1e-06, "text": "optimizer.learning_rate: 2e-06 -> 1e-06"}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prorl_mega.run.jsonl import append_durably, read_rows, to_lines
from prorl_mega.run.storage import storage_errors, write_durably
from prorl_mega.types import Event

NAME = "decisions.jsonl"
RAISED = ("warn", "stop")  # actions of an alarm that begins or goes on
_CHANGE = {"trigger": "settings", "action": "change"}


@dataclass(kw_only=True, slots=True, frozen=True)
class SettingChange:
    """A setting that has another value from step `step` + 1 on; None: it was not there, or is not any more."""

    step: int
    key: str
    before: Any
    after: Any

    @property
    def text(self) -> str:
        return f"{self.key}: {shown(self.before)} -> {shown(self.after)}"


def append_decisions(path: Path, step: int, events: tuple[Event, ...]) -> None:
    """Write the events of a step and force them to disk. Rank 0 only."""
    if events:
        append_durably(path, [to_row(step, event) for event in events])


def to_row(step: int, event: Event) -> dict[str, Any]:
    """The object that `decisions.jsonl` has for an event."""
    return {"step": step} | asdict(event)


def rolled_back(error: Exception, failed: int, to: int, problems: int, in_a_row: int, most: int) -> Event:
    """The event of going back from step `failed` to the checkpoint after step `to`; `problems` are lost by it."""
    return Event(
        trigger="numerics",
        action="roll_back",
        numbers={"step": failed, "to": to, "problems": problems, "in_a_row": in_a_row},
        limits={"max_rollbacks": most},
        text=f"back from step {failed} to the checkpoint after step {to}, on with other problems: {error}",
    )


def go_on(path: Path, step: int, changes: list[SettingChange]) -> None:
    """Remove everything beyond `step`, and add what has been changed for the steps that follow. Rank 0 only.

    Changes that were made after the same step before are removed as well: no step was done with them, or none is left.
    """
    rows = [row for row in read_rows(path) if row["step"] <= step and not (_is_change(row) and row["step"] == step)]
    rows += [_change_row(change) for change in changes]
    with storage_errors(f"writing {path}"):
        write_durably(path, to_lines(rows))


def read_changes(path: Path) -> list[SettingChange]:
    """The settings that were changed on the way, in order."""
    return [
        SettingChange(step=row["step"], key=str(row["key"]), before=row.get("before"), after=row.get("after"))
        for row in read_rows(path)
        if _is_change(row)
    ]


def read_decisions(path: Path) -> Iterator[tuple[int, Event]]:
    """Steps and events of the controller in order; lines that are not decisions are left out."""
    for row in read_rows(path):
        if _is_change(row):
            continue
        fields: dict[str, Any] = {name: row.get(name) for name in ("trigger", "action", "numbers", "limits", "text")}
        if isinstance(fields["trigger"], str) and isinstance(fields["action"], str):
            yield row["step"], Event(**fields)


def _is_change(row: dict[str, Any]) -> bool:
    return "key" in row and all(row.get(name) == value for name, value in _CHANGE.items())


def _change_row(change: SettingChange) -> dict[str, Any]:
    """Values that JSON does not have, such as dates in a task's options, are text."""
    row = {"step": change.step} | _CHANGE | {"key": change.key, "before": change.before, "after": change.after}
    return dict(json.loads(json.dumps(row | {"text": change.text}, default=str)))


def shown(value: Any) -> str:
    """A value before or after a change, for people."""
    return "(none)" if value is None else str(value)
