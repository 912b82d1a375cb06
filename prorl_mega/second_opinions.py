"""Second opinions on answers with full marks: another verifier judges a few per step while the learner works.

Rank 0, which has the texts, hands them to a verifier process of its own and takes the verdicts at the end of the step.
All of them are waited for, so that the metrics of a step are the same when it is done again. What bounds that is
`tasks.timeout_s` for each answer and MOST_FAILURES: a verifier that fails so often in a step is asked no more in it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from prorl_mega.config.schema import TasksConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.recipe.hack_signs import (
    DISPUTED,
    FULL,
    SECOND_OPINIONS,
    SHARE,
    Answer,
    is_solved,
    of_different_problems,
)
from prorl_mega.tasks.second_opinion import second_verifiers
from prorl_mega.types import Group, Metrics, Outcome, Verdict
from prorl_mega.verifiers.messages import infra_error
from prorl_mega.verifiers.pool import VerifierPool

FAILURES = "hack/second_opinion_failures"
MOST_FAILURES = 3  # in a step; the rest of its answers are not judged then
WAIT_S = 0.2  # for verdicts, between two looks at whether to stop


@dataclass(kw_only=True, slots=True, frozen=True)
class Opinions:
    """The outcome of a step: metrics, the same on every rank, and the answers that were rejected, on rank 0 alone."""

    metrics: Metrics = field(default_factory=dict)
    disputed: list[Answer] = field(default_factory=list)


class SecondOpinions(contextlib.AbstractContextManager["SecondOpinions"]):
    """Every rank calls every method together. Without second verifiers they do nothing."""

    def __init__(self, tasks: TasksConfig, ranks: Ranks, say: Callable[[str], None]) -> None:
        """Raises ConfigError for a second verifier that does not exist, or has wrong options."""
        judging = second_verifiers(tasks)
        self._entries = frozenset(judging.mixture) if tasks.second_opinions.answers else frozenset()
        self._most, self._ranks, self._say = tasks.second_opinions.answers, ranks, say
        self._is_stopping = threading.Event()
        self._answers: list[Answer] = []
        self._verdicts: Future[list[Verdict]] | None = None
        self._pool: VerifierPool | None = None
        if self._entries and ranks.is_first:
            self._pool = VerifierPool(judging, lambda text: say(f"second opinions: {text}"))
            # One thread for all steps: a verifier process ends with the thread that has started it.
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="second opinions")

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._give_up()
            self._thread.shutdown()
            self._pool.close()

    def begin(self, groups: list[Group]) -> None:
        """Have some answers of a step judged; does not wait. Gives up those of a step that has not come to its end."""
        if self._pool is None:
            return
        self._give_up()
        self._answers = chosen(groups, self._entries, self._most)
        self._is_stopping.clear()
        self._verdicts = self._thread.submit(self._judge, self._pool, self._answers)

    def end(self) -> Opinions:
        """The verdicts of the step that was begun."""
        if not self._entries:
            return Opinions()
        judged = [] if self._verdicts is None else list(zip(self._answers, self._outcome(), strict=True))
        self._verdicts = None
        scored = [(answer, verdict) for answer, verdict in judged if verdict.outcome is Outcome.SCORED]
        disputed = [answer for answer, verdict in scored if verdict.reward < FULL]
        counts = self._ranks.broadcast([len(judged), len(scored), len(disputed)])
        asked, answered, rejected = (float(each) for each in counts)
        metrics = {SECOND_OPINIONS: answered, FAILURES: asked - answered}
        return Opinions(
            metrics=metrics | ({SHARE[DISPUTED]: rejected / answered} if answered else {}),
            disputed=of_different_problems(disputed),
        )

    def _outcome(self) -> list[Verdict]:
        """The verdicts on `_answers`; failures where judging itself has failed, which is said and ends nothing."""
        assert self._verdicts is not None
        try:
            return self._verdicts.result()
        except Exception as error:
            self._say(f"second opinions: {type(error).__name__}: {error}")
            return [infra_error(str(error)) for _ in self._answers]

    def _give_up(self) -> None:
        self._is_stopping.set()
        if self._verdicts is not None:
            self._verdicts.exception()  # waits for the thread
            self._verdicts = None

    def _judge(self, pool: VerifierPool, answers: list[Answer]) -> list[Verdict]:
        """In the thread. Answers that are not judged any more have failed."""
        none = infra_error("not judged: the verifier has failed before, or the step was given up")
        found = [none] * len(answers)
        with pool.batch() as batch:
            for group, sample in answers:
                batch.add(group.problem, sample.text)
            failures, is_done = 0, not answers
            while not is_done and failures < MOST_FAILURES and not self._is_stopping.is_set():
                is_done = batch.wait(WAIT_S)
                for number, verdict in batch.drain():  # in the order of `add`, from one process that tries once
                    if failures < MOST_FAILURES:
                        found[number] = verdict
                    failures += verdict.outcome is Outcome.INFRA_ERROR
        return found


def chosen(groups: list[Group], entries: frozenset[str], most: int) -> list[Answer]:
    """Up to `most` answers with full marks to problems of these entries: of different problems in turn with the tasks,
    and then the next ones."""
    solved = [
        (group, sample)
        for group in groups
        if group.problem.task in entries
        for sample in group.scored()
        if is_solved(sample)
    ]
    first = of_different_problems(solved, most)
    known = {id(sample) for _, sample in first}
    return (first + [each for each in solved if id(each[1]) not in known])[:most]
