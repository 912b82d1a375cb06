"""Groups for the steps to come: servers sample and verifiers judge them while the learner trains on those before.

The loop is the same (`train.py`); what differs is where its groups come from. With a policy of `v` updates and a bound
of `staleness` versions, so many problems are in work that `staleness + 1` steps can be trained on them. A step takes
the oldest groups that are judged and can be trained on. It waits for those that have begun with version `v − staleness`
or before, so that no group is ever trained on later than `staleness` versions after its sampling has begun, and none
is left out because it took long; and for older ones rather than to take newer ones, if that would leave more of them
than the steps to come may take. Answers that are being sampled when new weights arrive go on under these: every token
has the version that sampled it, and the loss corrects for the difference (`recipe.importance_sampling`). Groups keep
the settings of sampling that they have begun with.

With a bound of 0 every group is sampled by the policy that is trained on it, in the same order and with the same seeds
as `collect_informative` has them.

Every problem that is drawn has one outcome: it is trained on, left out for a reason that is counted, or still open.
Open ones are in every checkpoint (`Curriculum`), and are the first ones to be sampled when a run goes on from there.
"""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from prorl_mega import faults
from prorl_mega.collect import Collector, Sampling, collection_metrics, refuse_too_few
from prorl_mega.config.recipe import RecipeConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.distributed.vote import StepwiseVote
from prorl_mega.fleet_rollout import FleetRollout
from prorl_mega.group_judge import GroupJudge
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.recipe.selection import why_dropped
from prorl_mega.run.signals import Interrupted
from prorl_mega.share import Share, exchange_shares
from prorl_mega.types import Group, Metrics, Problem, Sample, Scoring

WAIT_S = 0.2  # for a group, between two looks at whether to stop
MEMORY = 0.8  # of the share of groups that can be trained on, per step
SURPLUS = "surplus"  # there were groups enough for every step that this one could have been trained in


@dataclass(slots=True)
class OpenGroup:
    """A problem that was drawn and is neither trained on nor left out."""

    problem: Problem
    prompt: np.ndarray  # [P] int32
    begun: int  # the version of the policy when it was drawn
    group: Group | None = None  # once it is judged, if it can be trained on


class GroupsAhead:
    """Every rank calls every method together; the first one has servers and verifiers, all hold the same groups."""

    def __init__(
        self,
        rollout: FleetRollout,
        judge: GroupJudge | None,
        collector: Collector,
        problems: Curriculum,
        ranks: Ranks,
        *,
        staleness: int,
        last_step: int,
    ) -> None:
        """`judge` is None on all ranks but the first. Nothing is sampled for steps after `last_step`."""
        self._rollout, self._judge, self._ranks = rollout, judge, ranks
        self._collector, self._problems = collector, problems
        self._staleness, self._last_step = staleness, last_step
        self._count = 0  # of problems drawn
        self._judged, self._kept = 0.0, 0.0  # groups, and those of them that could be trained on; the last steps most
        self._open: dict[int, OpenGroup] = {}  # by number, in the order in which they were drawn

    def collect(self, recipe: RecipeConfig, sampling: Sampling) -> tuple[list[Group], list[Group], Metrics]:
        """The groups of the next step, all groups that were judged since the one before, and metrics, as
        `collect_informative` has them. What is drawn for the steps after it is sampled from now on.

        Raises Interrupted on every rank, NoInformativeGroupsError, and what servers or verifiers have failed with.
        """
        vote = StepwiseVote(self._collector.engine_ranks, self._collector.is_stopping)
        judged: dict[int, Group] = {}
        dropped: Counter[str] = Counter()
        drawn: list[str] = []  # keys of this step
        rounds = 1
        self._begin(self._lacking(recipe), sampling, drawn)
        while self._in_work() and not self._is_enough(recipe):
            for number, group in self._arrived():
                faults.reach("rollout/answers")
                judged[number] = group
                if reason := why_dropped(group, recipe):
                    dropped[reason] += 1
                    del self._open[number]
                else:
                    self._open[number].group = group
            if vote():
                raise Interrupted
            if not self._in_work() and rounds < recipe.selection.max_sampling_rounds:
                count = self._lacking_still(recipe, len(judged), len(judged) - sum(dropped.values()))
                self._begin(count, sampling, drawn)
                rounds += count > 0
        sampled = [judged[number] for number in sorted(judged)]
        refuse_too_few(list(self._ready().values()), sampled, rounds, dropped, recipe)
        self._judged = MEMORY * self._judged + len(judged)
        self._kept = MEMORY * self._kept + len(judged) - sum(dropped.values())
        groups = self._take(recipe.prompts_per_step)
        dropped[SURPLUS] = self._drop_stale()
        shown = sampled or groups  # all may have been judged in the step before
        metrics = collection_metrics(shown, len(groups), rounds, +dropped, [[self._scoring()]])
        metrics |= staleness_metrics(groups, self._rollout.version)
        metrics |= {"groups/in_work": float(len(self._in_work())), "groups/ready": float(len(self._ready()))}
        still_open = [each.problem for each in self._open.values()]
        return groups, shown, metrics | self._problems.observe(sampled, still_open)

    def abandon(self) -> None:
        """Forget all groups that are not trained on; their problems are sampled anew by the next `collect`."""
        self._open.clear()
        self._problems.load_state_dict(self._problems.state_dict())  # open problems are drawn again, first

    def _in_work(self) -> list[OpenGroup]:
        return [each for each in self._open.values() if each.group is None]

    def _ready(self) -> dict[int, Group]:
        return {number: each.group for number, each in self._open.items() if each.group is not None}

    def _lacking(self, recipe: RecipeConfig) -> int:
        """The problems to draw at the beginning of a step: for the step itself as many as `collect_informative` draws,
        and those that may be sampled before their turn."""
        selection = recipe.selection
        ahead = max(0, min(self._staleness, self._last_step - self._rollout.version - 1))
        wanted = recipe.prompts_per_step * (selection.oversampling if selection.dynamic_sampling else 1.0)
        wanted += (ahead * recipe.prompts_per_step - len(self._ready())) / self._share(recipe) - len(self._in_work())
        return max(0, math.ceil(wanted))

    def _lacking_still(self, recipe: RecipeConfig, judged: int, kept: int) -> int:
        """The problems to draw when all are judged and the step still lacks groups: as many as it takes if the share of
        those that can be trained on stays."""
        lacking = recipe.prompts_per_step - len(self._ready())
        if lacking <= 0 or not recipe.selection.dynamic_sampling:
            return 0
        return min(recipe.prompts_per_step, math.ceil(lacking / (kept / judged if kept else 1.0)))

    def _is_enough(self, recipe: RecipeConfig) -> bool:
        """Whether there are groups for a step, and those that it leaves are not more than the steps that may still take
        them can use: what is drawn together ends at different times, and newer groups must not take the place of older
        ones for too long."""
        wanted, ready = recipe.prompts_per_step, [each for each in self._open.values() if each.group is not None]
        if len(ready) < wanted:
            return False
        newest = ready[wanted - 1].begun
        for begun in {each.begun for each in self._in_work()}:
            steps = begun + self._staleness - self._rollout.version  # after this one
            in_work = sum(each.begun <= begun for each in self._in_work())
            left = sum(each.begun <= begun for each in ready[wanted:]) + self._share(recipe) * in_work
            if steps <= 0 or (newest > begun and left > steps * wanted):
                return False
        return True

    def _share(self, recipe: RecipeConfig) -> float:
        """The share of groups that can be trained on, as the last steps had it."""
        return max(1 / recipe.selection.max_sampling_rounds, self._kept / self._judged if self._judged else 1.0)

    def _begin(self, count: int, sampling: Sampling, drawn: list[str]) -> None:
        """Have `count` problems sampled; `drawn` are the keys of those that this step has begun with so far."""
        problems = self._problems.draw(count) if count else []
        seeds = self._collector.seeds(problems, sampling, drawn)
        drawn += [problem.key for problem in problems]
        with self._ranks.raise_on_all_ranks("sampling"):
            for problem, row in zip(problems, seeds, strict=True):
                prompt = self._collector.tokenizer.encode_prompt(problem.prompt, problem.system)
                self._open[self._count] = OpenGroup(problem, prompt, self._rollout.version)
                if self._judge is not None:
                    self._judge.expect(self._count, problem, sampling.samples)
                    outcome = self._rollout.submit(
                        prompt,
                        row,
                        partial(self._judge.put, self._count),
                        temperature=sampling.temperature,
                        top_p=sampling.top_p,
                        max_tokens=sampling.max_tokens,
                    )
                    outcome.add_done_callback(self._ended)
                self._count += 1

    def _ended(self, outcome: Future[Any]) -> None:
        """In the fleet's thread."""
        if self._judge is not None and (error := outcome.exception()) is not None:
            self._judge.fail(error)

    def _arrived(self) -> list[tuple[int, Group]]:
        """The groups that were judged since the last call, on every rank; waits a moment for the first."""
        finished: list[tuple[int, list[Sample]]] = []
        with self._ranks.raise_on_all_ranks("sampling"):
            if self._judge is not None:
                finished = [each for each in self._judge.finished(WAIT_S) if each[0] in self._open]  # not abandoned
        self._rollout.serve_newcomers(has_work=True)
        numbers: list[int] = self._ranks.broadcast([number for number, _ in finished])
        if not numbers:
            return []
        samples = [samples for _, samples in finished]
        share = Share(prompts=[], samples=samples, scoring=Scoring()) if self._ranks.is_first else None
        (share,) = exchange_shares(share)
        found = []
        for number, each in zip(numbers, share.samples, strict=True):
            begun = self._open[number]
            found.append((number, Group(problem=begun.problem, prompt_tokens=begun.prompt, samples=each)))
        return found

    def _take(self, count: int) -> list[Group]:
        """The oldest `count` groups that can be trained on."""
        taken = dict(list(self._ready().items())[:count])
        for number in taken:
            del self._open[number]
        return list(taken.values())

    def _drop_stale(self) -> int:
        """Leave out the groups that would be too old for the next step; returns how many."""
        oldest = self._rollout.version + 1 - self._staleness
        stale = [number for number, each in self._open.items() if each.begun < oldest]
        for number in stale:
            del self._open[number]
        return len(stale)

    def _scoring(self) -> Scoring:
        found = Scoring() if self._judge is None else self._judge.take_scoring()
        return Scoring(**self._ranks.broadcast(asdict(found)))


def staleness_metrics(groups: list[Group], version: int) -> Metrics:
    """How many versions the tokens of `groups` are behind `version`: the mean and the largest, and the share of answers
    that several versions have sampled."""
    completions = [sample.completion for group in groups for sample in group.samples]
    tokens = sum(len(each.tokens) for each in completions)
    lags = [
        np.full(len(each.tokens), version - each.version) if each.versions is None else version - each.versions
        for each in completions
    ]
    return {
        "staleness/mean": float(sum(int(each.sum()) for each in lags) / max(1, tokens)),
        "staleness/max": float(max((int(each.max()) for each in lags if len(each)), default=0)),
        "staleness/mixed": float(np.mean([each.versions is not None for each in completions])),
    }
