"""The time line of a run: the controller's decisions and changed settings, as marks on charts and as a list."""

from __future__ import annotations

from typing import Literal, NamedTuple

from prorl_mega.config.schedule import ALARMS
from prorl_mega.reporting.descriptions import Mark
from prorl_mega.reporting.history import History
from prorl_mega.run.decisions import RAISED

MOST_EVENTS = 400  # on a page; the rarer ones first
_KINDS: dict[str, Literal["reset", "stage", "minor"]] = {
    "reset": "reset", "next_stage": "stage", "stop": "stage", "change": "stage"
}  # fmt: skip
_WORDS = {"reset": "reset", "next_stage": "next stage", "change": "setting"}


class TimelineEntry(NamedTuple):
    """Something that was decided after a step."""

    step: int
    action: str  # of the event, or "change"
    text: str
    trigger: str = ""  # of the event

    @property
    def word(self) -> str:
        """The action for people."""
        return _WORDS.get(self.action, self.action)

    @property
    def kind(self) -> Literal["reset", "stage", "minor"]:
        return _KINDS.get(self.action, "minor")

    @property
    def alarm(self) -> str:
        """The id of the panel with the answers behind an alarm that was raised; empty for anything else."""
        return f"alarm-{self.step}-{self.trigger}" if self.trigger in ALARMS and self.action in RAISED else ""


def timeline(history: History) -> list[TimelineEntry]:
    """All that is known, in the order of steps; resets without a recorded reason say that much."""
    entries = [TimelineEntry(step, event.action, str(event.text), event.trigger) for step, event in history.decisions]
    explained = {each.step for each in entries if each.action == "reset"}
    entries += [TimelineEntry(step, "reset", "reference reset") for step in history.resets() if step not in explained]
    entries += [TimelineEntry(change.step, "change", change.text) for change in history.changes]
    first = [each for each in entries if each.kind != "minor"]
    others = [each for each in entries if each.kind == "minor"]
    kept = first[:MOST_EVENTS] + others[-max(0, MOST_EVENTS - len(first)) or len(others) :]
    return sorted(kept[:MOST_EVENTS], key=lambda each: each.step)


def marks(entries: list[TimelineEntry], prefix: str) -> list[dict[str, object]]:
    """Marks for all charts over steps; a click opens the panel of the alarm or that of the step, whose id is `prefix`
    and the step."""
    found = [
        Mark(x=each.step, text=each.text[:400], kind=each.kind, opens=each.alarm or f"{prefix}{each.step}")
        for each in entries
    ]
    return [{"x": each.x, "text": each.text, "kind": each.kind, "opens": each.opens} for each in found]
