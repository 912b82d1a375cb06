"""Answers on their way to a verdict, and what verifiers are told and believed, whoever they are."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from prorl_mega.tasks.extract import MAX_TEXT
from prorl_mega.types import Outcome, Problem, Scoring, Verdict


@dataclass(kw_only=True, slots=True)
class Job:
    """One answer."""

    index: int
    message: dict[str, Any]
    added: float  # time.monotonic()
    given: float = 0.0  # to a verifier, for the first time
    attempts: int = 0
    failed_at: str = ""  # the reward server that had it then


class Answers:
    """Exactly one verdict for each of them, in the order they were added; those that nobody works on are in `queue`."""

    def __init__(self) -> None:
        self.scoring = Scoring()
        self.queue: deque[Job] = deque()
        self._count = 0
        self._verdicts: dict[int, Verdict] = {}
        self._busy_since = 0.0

    @property
    def unfinished(self) -> int:
        """Answers without a verdict."""
        return self._count - len(self._verdicts)

    def add(self, problem: Problem, text: str) -> None:
        now = time.monotonic()
        if not self.unfinished:
            self._busy_since = now
        self.queue.append(Job(index=self._count, message=to_message(self._count, problem, text), added=now))
        self._count += 1

    def settle(self, job: Job, verdict: Verdict) -> None:
        """The verdict about an answer, which stays as it is."""
        assert job.index not in self._verdicts, "two verdicts about one answer"
        self._verdicts[job.index] = verdict
        now, scoring = time.monotonic(), self.scoring
        scoring.answers += 1
        scoring.infra_errors += verdict.outcome is Outcome.INFRA_ERROR
        scoring.waited_s += (job.given or now) - job.added
        scoring.latency_s += now - job.added
        scoring.longest_s = max(scoring.longest_s, now - job.added)
        if not self.unfinished:
            scoring.busy_s += now - self._busy_since

    def in_order(self) -> list[Verdict]:
        """All verdicts, when there are all."""
        return [self._verdicts[index] for index in range(self._count)]


def to_message(index: int, problem: Problem, text: str) -> dict[str, Any]:
    """What a verifier is told: not the problem's solution, and the end of an overlong answer."""
    fields = {"key": problem.key, "task": problem.task, "prompt": problem.prompt, "entry": problem.entry}
    return {"id": index, "problem": fields, "answer": text[-MAX_TEXT:]}


def read_verdict(message: dict[str, Any]) -> Verdict:
    """A verifier's reply, believed only as far as it is a finite number in [0, 1]."""
    if "error" in message:
        return infra_error(f"the verifier raised {message['error']}")
    reward, detail = message.get("reward"), str(message.get("detail", ""))
    if message.get("outcome") != Outcome.SCORED.value:
        return infra_error(detail)
    if isinstance(reward, bool) or not isinstance(reward, int | float) or not 0.0 <= reward <= 1.0:
        return infra_error(f"the verifier returned {reward!r}, not a number from 0 to 1")
    return Verdict(reward=float(reward), detail=detail)


def infra_error(detail: str) -> Verdict:
    """No reward, and why."""
    return Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, detail=detail[:300])
