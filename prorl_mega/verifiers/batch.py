"""Batches of answers to be scored, by a pool on this machine or by reward servers."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from prorl_mega.tasks.extract import MAX_TEXT
from prorl_mega.types import Grading, Outcome, Problem, Scoring, Verdict
from prorl_mega.verifiers.audit import VerdictAudit
from prorl_mega.verifiers.messages import AnswerMessage, ProblemMessage

CHUNK = 32  # answers that a verifier is given at a time, at most


@dataclass(kw_only=True, slots=True)
class Job:
    """One answer that waits for its verdict. Times are `time.monotonic()`."""

    message: AnswerMessage
    added: float
    given: float = 0.0  # to a verifier, for the first time
    attempts: int = 0
    failed_at: str = ""  # the reward server that failed on it
    is_resolved: bool = False


class Answers(ABC):
    """A batch: one verdict per answer, in the order of addition; answers not being scored are in `queue`."""

    def __init__(self, attempts: int) -> None:
        """An empty batch; an answer that has failed `attempts` times is an infrastructure error."""
        self._attempts = attempts
        self.audit: VerdictAudit | None = None
        self.scoring = Scoring()
        self.queue: deque[Job] = deque()
        self._count = self._resolved = self._drained = 0
        self._finished: deque[tuple[int, Verdict]] = deque()  # in the order in which they came; another thread may add
        self._busy_since = 0.0

    @property
    def unfinished(self) -> int:
        """Answers without a verdict."""
        return self._count - self._resolved

    def add(self, problem: Problem, text: str, grading: Grading = Grading.STRICT) -> None:
        now = time.monotonic()
        if not self.unfinished:
            self._busy_since = now
        question = ProblemMessage(problem.key, problem.task, problem.prompt, problem.entry)
        message = AnswerMessage(self._count, question, text[-MAX_TEXT:], grading)
        self.queue.append(Job(message=message, added=now))
        self._count += 1

    def take(self, processes: int) -> list[Job]:
        """A chunk for one of `processes` verifier processes, small enough that the others get a share.

        An answer that failed before is a chunk of its own.
        """
        queue = self.queue
        count = max(1, min(CHUNK, math.ceil(len(queue) / (2 * max(1, processes)))))
        jobs = [queue.popleft()]
        while len(jobs) < count and queue and not jobs[0].attempts and not queue[0].attempts:
            jobs.append(queue.popleft())
        return jobs

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return jobs to the front of the queue, in their order."""
        self.queue.extendleft(reversed(jobs))

    def attempted(self, job: Job, verdict: Verdict) -> None:
        """Keep a verdict, or queue the answer again after an infrastructure error while attempts are left."""
        job.attempts += 1
        if verdict.outcome is Outcome.INFRA_ERROR and job.attempts < self._attempts:
            self.scoring.retries += 1
            self.queue.append(job)
        else:
            self.resolve(job, verdict)

    def resolve(self, job: Job, verdict: Verdict) -> None:
        """Record the final verdict on an answer."""
        if self.audit is not None:
            verdict = self.audit.take(job.message.problem.problem(), verdict)
        assert not job.is_resolved, "two verdicts about one answer"
        job.is_resolved = True
        self._resolved += 1
        self._finished.append((job.message.id, verdict))
        now, scoring = time.monotonic(), self.scoring
        scoring.answers += 1
        scoring.infra_errors += verdict.outcome is Outcome.INFRA_ERROR
        scoring.waited_s += (job.given or now) - job.added
        scoring.latency_s += now - job.added
        scoring.longest_s = max(scoring.longest_s, now - job.added)
        if not self.unfinished:
            scoring.busy_s += now - self._busy_since

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Make progress for at most so long; whether all verdicts are there."""

    def drain(self) -> list[tuple[int, Verdict]]:
        """Hand over and forget the verdicts that have come since the last call, with the numbers of their answers."""
        found = []
        while self._finished:  # grows meanwhile, if another thread resolves
            found.append(self._finished.popleft())
        self._drained += len(found)
        return found

    def verdicts(self) -> list[Verdict]:
        """Wait for all answers: their verdicts, in the order of addition."""
        assert not self._drained, "some were handed over before"
        while not self.wait(math.inf):
            pass
        return [verdict for _, verdict in sorted(self._finished, key=lambda each: each[0])]
