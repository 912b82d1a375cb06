"""The grading of an evaluation's answers, while others are sampled: verdicts are written as they come.

Every answer is judged as in training. One in which nothing was found in the form that was asked for is judged once more
in its other readings (`tasks/relaxed.py`), which changes nothing about the first verdict.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from prorl_mega.protocols import Batch
from prorl_mega.run.sample_store import StoredVerdict
from prorl_mega.types import Grading, Outcome, Problem, Verdict

WRITE_S = 0.5  # between two times that verdicts are written while they are waited for


@dataclass(slots=True)
class _Pending:
    problem: int
    sample: int
    text: str
    strict: Verdict | None = None  # there is one when its other readings are judged


class Grader:
    """Judges answers with a batch of verifiers and hands verdicts to `write` in the order in which they finish.

    Memory is held for the answers without a verdict, their texts among them, and for no others. `unfinished` tells a
    caller that must bound it when to wait.
    """

    def __init__(self, batch: Batch, problems: list[Problem], write: Callable[[list[StoredVerdict]], None]) -> None:
        """A grader of answers to `problems`, which `add` names by their place. The batch must be new, and its own."""
        self._batch, self._problems, self._write = batch, problems, write
        self._pending: dict[int, _Pending] = {}  # by the number of what was added to the batch
        self._added = 0

    @property
    def unfinished(self) -> int:
        """Answers whose verdict was not written yet."""
        return len(self._pending)

    def add(self, problem: int, sample: int, text: str) -> None:
        """Add the answer number `sample` to a problem. Never waits."""
        self._ask(_Pending(problem, sample, text), Grading.NAMED)

    def poll(self) -> None:
        """Make progress without waiting, and write what is finished."""
        self._batch.poll()
        self._take()

    def wait(self, seconds: float) -> bool:
        """Make progress for at most so long; whether all verdicts are written."""
        end = time.monotonic() + seconds
        self._take()
        while self._pending and (left := end - time.monotonic()) > 0:
            self._batch.wait(min(WRITE_S, left))
            self._take()
        return not self._pending

    def _ask(self, answer: _Pending, grading: Grading) -> None:
        self._pending[self._added] = answer
        self._added += 1
        self._batch.add(self._problems[answer.problem], answer.text, grading)

    def _take(self) -> None:
        finished = []
        for number, verdict in self._batch.drain():
            answer = self._pending.pop(number)
            if answer.strict is None and _is_formless(verdict):
                answer.strict = verdict
                self._ask(answer, Grading.RELAXED)
            elif answer.strict is None:
                finished.append(_stored(answer, verdict))
            else:
                finished.append(_with_relaxed(_stored(answer, answer.strict), verdict))
        if finished:
            self._write(finished)


def _is_formless(verdict: Verdict) -> bool:
    """Whether an answer may be right, though it is not in the form that was asked for."""
    return verdict.outcome is Outcome.SCORED and not verdict.found and verdict.reward < 1.0


def _stored(answer: _Pending, verdict: Verdict) -> StoredVerdict:
    return StoredVerdict(
        problem=answer.problem,
        sample=answer.sample,
        reward=verdict.reward if verdict.outcome is Outcome.SCORED and math.isfinite(verdict.reward) else None,
        answer=_writable(verdict.answer),
        detail=_writable(verdict.detail),
    )


def _with_relaxed(strict: StoredVerdict, verdict: Verdict) -> StoredVerdict:
    """The strict verdict with the one on the other readings. A failure leaves it as it is, and is told."""
    if verdict.outcome is not Outcome.SCORED:
        strict.detail = f"{strict.detail} (its other readings: {_writable(verdict.detail)})"
    elif verdict.found:
        assert strict.reward is not None
        strict.relaxed = max(strict.reward, verdict.reward)
        if verdict.reward > strict.reward:
            strict.detail = f"{strict.detail} (otherwise: {_writable(verdict.detail)})"
    return strict


def _writable(text: str) -> str:
    """The text without the lone surrogates that a model's bytes may hold, which no JSON file can."""
    return text.encode("utf-8", "replace").decode("utf-8")
