"""Everything in the directory of a run but its numbers: decisions, answers of steps, evaluations."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import deque
from typing import Any

from prorl_mega.documents import BrokenDocumentError, parse_json
from prorl_mega.reporting.step_panels import behind
from prorl_mega.run.decisions import NAME as DECISIONS
from prorl_mega.run.decisions import SettingChange
from prorl_mega.run.evaluations import parse_evaluation
from prorl_mega.run.jsonl import has_step
from prorl_mega.run.samples import BEHIND, LONGEST
from prorl_mega.types import Event
from prorl_mega.viewing.growing_file import GrowingFile
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.values import number, text

MOST_EVENTS = 500  # the newest
MOST_FILES = 100_000  # of a folder
MOST_ANSWERS = 40  # of a step; a run writes eight, and six more for each alarm
MOST_EVALUATIONS = 20
_LARGEST_SAMPLES = 4 << 20  # bytes
_LARGEST_EVALUATION = 64 << 20  # bytes; a thousand problems with an answer each have a tenth
_LONGEST_ANSWER = 2 * LONGEST  # characters
_STEP = re.compile(r"step_([0-9]{1,10})\.jsonl")


class Decisions:
    """The newest lines of decisions.jsonl: what the controller decided, and which settings were changed."""

    def __init__(self, place: Place) -> None:
        self._file = GrowingFile(place, DECISIONS)
        self._beginnings = 0
        self._rows: deque[tuple[int, Event] | SettingChange] = deque(maxlen=MOST_EVENTS)

    def look(self) -> None:
        """Read what is new."""
        lines = self._file.read()
        if self._file.beginnings != self._beginnings:
            self._beginnings = self._file.beginnings
            self._rows.clear()
        self._rows.extend(found for line in lines if (found := _decision(line)) is not None)

    @property
    def events(self) -> list[tuple[int, Event]]:
        return [each for each in self._rows if not isinstance(each, SettingChange)]

    @property
    def changes(self) -> list[SettingChange]:
        return [each for each in self._rows if isinstance(each, SettingChange)]


class StepAnswers:
    """The answers that a run has kept, by step."""

    def __init__(self, place: Place) -> None:
        self._place = place / "samples"
        self._changed = 0
        self._steps: list[int] = []

    def look(self) -> dict[str, Any]:
        """`{"first", "last", "count"}` of the steps that have some."""
        steps = self._found()
        return {"first": steps[0], "last": steps[-1], "count": len(steps)} if steps else {"count": 0}

    def at(self, step: int) -> dict[str, Any]:
        """The answers of a step, or of the last one before it that has some, and the steps around it."""
        steps = self._found()
        place = bisect_right(steps, step) - 1
        if place < 0:
            return {"step": None, "before": None, "after": steps[0] if steps else None, "rows": []}
        found = steps[place]
        before, after = steps[place - 1] if place else None, steps[place + 1] if place + 1 < len(steps) else None
        return {"step": found, "before": before, "after": after, "rows": self._rows(found)}

    def _found(self) -> list[int]:
        """The steps, rising; the folder is read only when its time has changed."""
        try:
            with self._place.opened() as directory:
                changed = os.fstat(directory).st_mtime_ns
        except OSError:
            changed = -1
        if changed != self._changed:
            self._changed = changed
            found = (_STEP.fullmatch(name) for name in self._place.names(MOST_FILES))
            self._steps = sorted({int(match[1]) for match in found if match})
        return self._steps

    def _rows(self, step: int) -> list[dict[str, Any]]:
        try:
            content = self._place.content(f"step_{step:06d}.jsonl", _LARGEST_SAMPLES)
        except (OSError, BrokenDocumentError):
            return []
        rows = [row for line in content.splitlines()[:MOST_ANSWERS] if (row := _object(line)) is not None]
        return [_answer(row) for row in rows]


class Evaluations:
    """The results in `evaluation/`, each read once."""

    def __init__(self, place: Place) -> None:
        self._place = place / "evaluation"
        self._known: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}

    def look(self) -> list[dict[str, Any]]:
        """`{"label", "step", "rows": [{"task", "problems", "samples", "solved", "pass"}]}` by step, newest last."""
        names = sorted(name for name in self._place.names(MOST_FILES) if name.endswith(".json"))[:MOST_EVALUATIONS]
        found: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        for name in names:
            signature = self._place.signature(name)
            if signature is not None:
                known = self._known.get(name)
                found[name] = known if known and known[0] == signature else (signature, self._read(name))
        self._known = found
        return sorted((each for _, each in found.values() if each), key=lambda each: (each["step"], each["label"]))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            content = parse_evaluation(self._place.content(name, _LARGEST_EVALUATION))
        except (OSError, ValueError):
            return None
        tasks: dict[str, list[dict[str, Any]]] = {}
        for problem in content["problems"]:
            tasks.setdefault(problem["task"], []).append(problem)
        every = {"all tasks": content["problems"]} if len(tasks) != 1 else {}
        rows = [_task(name, problems) for name, problems in [*sorted(tasks.items())[:200], *every.items()]]
        return {"label": text(content["label"]), "step": content["step"], "rows": rows}


def _decision(line: bytes) -> tuple[int, Event] | SettingChange | None:
    row = _object(line)
    if row is None or not has_step(row) or not isinstance(row.get("action"), str):
        return None
    words = {name: text(str(row.get(name, ""))) for name in ("trigger", "action", "text", "key")}
    if (words["trigger"], words["action"]) == ("settings", "change"):
        before, after = (None if row.get(name) is None else text(str(row[name])) for name in ("before", "after"))
        return SettingChange(step=row["step"], key=words["key"], before=before, after=after)
    return row["step"], Event(trigger=words["trigger"], action=words["action"], text=words["text"])


def _task(name: str, problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the problems that have a verdict: of the share of right answers, and whether there is a right one."""
    judged = [each for each in problems if each["samples"]]
    count = len(judged) or 1
    return {
        "task": text(name),
        "problems": len(problems),
        "samples": max((each["samples"] for each in judged), default=0),
        "solved": number(sum(each["solved"] > 0 for each in judged) / count) if judged else None,
        "pass": number(sum(each["solved"] / each["samples"] for each in judged) / count) if judged else None,
    }


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    words = {
        name: text(str(row.get(name, "")), _LONGEST_ANSWER)
        for name in ("task", "key", "system", "prompt", "completion")
    }
    reward, tokens = row.get("reward"), row.get("tokens")
    return words | {
        "reward": number(reward) if isinstance(reward, int | float) else None,
        "tokens": tokens if isinstance(tokens, int) else None,
        "outcome": text(str(row.get("outcome") or "")),
        "truncated": row.get("truncated") is True,
        BEHIND: behind(row),
    }


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line)
    except BrokenDocumentError:
        return None
    return row if isinstance(row, dict) else None
