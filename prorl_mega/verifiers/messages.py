"""Messages between the pool and its verifier processes, and between reward servers and their clients.

Peers are not trusted: a message that was read has all fields of its type, with values of their types, and no others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from prorl_mega.tasks.extract import MAX_TEXT
from prorl_mega.types import Grading, Outcome, Problem, Verdict

MAX_DETAIL = 300  # characters
MAX_NAME = 128  # characters of an answer in the form that equal answers share
LARGEST_REWARD = 1e6


class ProblemMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A problem for verifiers: without its solution."""

    key: str
    task: str
    prompt: str
    entry: dict[str, Any]

    def problem(self) -> Problem:
        return Problem(key=self.key, task=self.task, prompt=self.prompt, entry=self.entry)


class AnswerMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to be scored: the end of an overlong one."""

    id: int
    problem: ProblemMessage
    answer: Annotated[str, Meta(max_length=MAX_TEXT)]
    grading: Grading = Grading.STRICT


class VerdictMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """The verdict on the answer `id`. NaN is not within the bounds of `reward`, which a task narrows (`audit.py`)."""

    id: int
    reward: Annotated[float, Meta(ge=-LARGEST_REWARD, le=LARGEST_REWARD)]
    outcome: Outcome
    detail: Annotated[str, Meta(max_length=MAX_DETAIL)]
    found: bool = True
    answer: Annotated[str, Meta(max_length=MAX_NAME)] = ""

    def verdict(self) -> Verdict:
        return Verdict(
            reward=self.reward if self.outcome is Outcome.SCORED else 0.0,
            outcome=self.outcome,
            detail=self.detail,
            found=self.found,
            answer=self.answer,
        )


class WorkerSetup(Struct, forbid_unknown_fields=True):
    """The settings of a verifier process, sent before its first answer."""

    entries: dict[str, tuple[str, dict[str, Any]]]  # of the mixture: the task's name and options
    modules: list[str]  # that register these tasks
    timeout_s: float
    memory: int  # bytes of address space


class WorkerRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to a verifier process: `setup` once, then answers. `warm`: get ready for answers to every task."""

    setup: WorkerSetup | None = None
    warm: bool = False
    answers: list[AnswerMessage] = []


WorkerEvent = Literal["ready", "warming", "warm", "working"] | VerdictMessage
"""A verdict, or a state: "working" is a task's sign of progress within one answer."""


class WorkerReply(Struct, forbid_unknown_fields=True):
    """A message from a verifier process.

    `processor_s`, its processor time so far, tells a process that hangs from one that gets no processor.
    """

    event: WorkerEvent
    processor_s: Annotated[float, Meta(ge=0.0)]


def infra_error(detail: str) -> Verdict:
    """A verdict without a reward, with the reason."""
    return Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, detail=detail[:MAX_DETAIL])
