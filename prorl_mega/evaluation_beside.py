"""An evaluation on the way whose answers the servers sample in the gaps of training, while steps go on.

It begins with the weights of the step that it is due after. Later weights replace them on the servers before all of its
answers are sampled, so every evaluation says how far its tokens are behind the step that records it
(`evaluation/lag`), and over how many versions they are spread (`evaluation/versions`). Nothing waits for it before the
next one is due, and then what is left of it is finished first.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from prorl_mega.collect import Collector, Sampling
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.distributed.vote import StepwiseVote
from prorl_mega.evaluation.summary import summarise
from prorl_mega.fleet_rollout import FleetRollout
from prorl_mega.group_judge import GroupJudge
from prorl_mega.run.signals import Interrupted
from prorl_mega.share import Share, exchange_shares
from prorl_mega.types import Group, Metrics, Problem, Sample, Scoring

WAIT_S = 0.2  # between two looks at what has ended, and at whether to stop


@dataclass(kw_only=True, slots=True)
class _Open:
    step: int  # that it began after
    problems: list[Problem]
    prompts: list[np.ndarray]  # [P] int32 each
    ended: dict[int, list[Sample]] = field(default_factory=dict)  # by the position of their problem; first rank only


class EvaluationBeside:
    """At most one evaluation at a time. Every rank calls every method together; the first one has the servers."""

    def __init__(self, rollout: FleetRollout, judge: GroupJudge | None, collector: Collector, ranks: Ranks) -> None:
        """`judge` is None on all ranks but the first."""
        self._rollout, self._judge, self._collector, self._ranks = rollout, judge, collector, ranks
        self._numbers = itertools.count(-1, -1)  # training has those from 0
        self._open: _Open | None = None

    @property
    def began(self) -> int | None:
        """The step that the open evaluation began after; None if there is none."""
        return None if self._open is None else self._open.step

    def begin(self, step: int, problems: Sequence[Problem], sampling: Sampling) -> None:
        """Have `problems` sampled with the weights that servers have now, those after `step`, and what follows them."""
        assert self._open is None, f"the evaluation of step {self.began} has not ended"
        encode = self._collector.tokenizer.encode_prompt
        prompts = [encode(problem.prompt, problem.system) for problem in problems]
        self._open = _Open(step=step, problems=list(problems), prompts=prompts)
        with self._ranks.raise_on_all_ranks("evaluating"):
            if self._judge is not None:
                self._submit(self._judge, self._open, sampling)

    def has_ended(self) -> bool:
        """Whether all answers of the open evaluation are judged. Raises what servers or verifiers have failed with."""
        assert self._open is not None, "no evaluation has begun"
        with self._ranks.raise_on_all_ranks("evaluating"):
            if self._judge is not None and self._judge.error is not None:
                raise self._judge.error
        return bool(self._ranks.broadcast(len(self._open.ended) == len(self._open.problems)))

    def results(self, step: int) -> Metrics:
        """The numbers of the open evaluation, which ends; waits for it. `step` is the one that records them.

        Raises Interrupted on every rank; the evaluation stays open.
        """
        assert self._open is not None, "no evaluation has begun"
        vote = StepwiseVote(self._collector.engine_ranks, self._collector.is_stopping)
        while not self.has_ended():
            if vote():
                raise Interrupted
            self._rollout.serve_newcomers(has_work=True)
            if self._ranks.is_first:
                time.sleep(WAIT_S)
        ended, self._open = self._open, None
        groups = self._exchange(ended)
        return summarise(groups) | age_metrics(groups, step)

    def abandon(self) -> None:
        """Forget the open evaluation; what still arrives of it is nobody's."""
        self._open = None

    def _submit(self, judge: GroupJudge, begun: _Open, sampling: Sampling) -> None:
        def failed(outcome: Future[Any]) -> None:
            if (error := outcome.exception()) is not None:
                judge.fail(error)

        seeds = self._collector.seeds(begun.problems, sampling)
        for position, (problem, prompt, row) in enumerate(zip(begun.problems, begun.prompts, seeds, strict=True)):
            number = next(self._numbers)
            judge.expect(number, problem, sampling.samples, partial(begun.ended.__setitem__, position))
            outcome = self._rollout.submit(
                prompt,
                row,
                partial(judge.put, number),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                in_background=True,
            )
            outcome.add_done_callback(failed)

    def _exchange(self, ended: _Open) -> list[Group]:
        share = None
        if self._ranks.is_first:
            samples = [ended.ended[position] for position in range(len(ended.problems))]
            share = Share(prompts=[], samples=samples, scoring=Scoring())
        (share,) = exchange_shares(share)
        return [
            Group(problem=problem, prompt_tokens=prompt, samples=samples)
            for problem, prompt, samples in zip(ended.problems, ended.prompts, share.samples, strict=True)
        ]


def age_metrics(groups: list[Group], step: int) -> Metrics:
    """The mean of the steps by which tokens are behind `step`, and the number of versions that have sampled them."""
    completions = [sample.completion for group in groups for sample in group.samples]
    versions = np.concatenate(
        [np.full(len(each.tokens), each.version) if each.versions is None else each.versions for each in completions]
    )
    if not len(versions):
        return {}
    return {
        "evaluation/lag": float(step - versions.mean()),
        "evaluation/versions": float(versions.max() - versions.min() + 1),
    }
