"""The numbers of one problem that every summary of an evaluation is made of, whoever counted them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from prorl_mega.types import FinishReason, Group

SOLVED = 1 - 1e-6  # rewards from here on are full marks


@dataclass(kw_only=True, slots=True)
class ProblemCounts:
    """The numbers that the answers to one problem add up to. One without a verdict counts in the first three."""

    key: str
    task: str
    prompt: str
    completion: str = ""  # one of the answers
    answers: int = 0
    tokens: int = 0  # of all answers
    truncated: int = 0  # answers that hit the token limit
    rewards: array[float] = field(default_factory=lambda: array("d"))  # of the verdicts, in any order
    relaxed: int | None = None  # solved if the form does not matter; None: nobody tried
    majority: float | None = None  # reward of the most common answer; None: there is none

    @property
    def samples(self) -> int:
        """Answers with a verdict."""
        return len(self.rewards)

    @property
    def solved(self) -> int:
        return sum(reward >= SOLVED for reward in self.rewards)


def counts_of(group: Group) -> ProblemCounts:
    """The numbers of a group in memory."""
    completions = [sample.completion for sample in group.samples]
    return ProblemCounts(
        key=group.problem.key,
        task=group.problem.task,
        prompt=group.problem.prompt,
        completion=group.samples[0].text if group.samples else "",
        answers=len(completions),
        tokens=sum(len(completion.tokens) for completion in completions),
        truncated=sum(completion.finish is FinishReason.LENGTH for completion in completions),
        rewards=array("d", group.rewards()),
    )
