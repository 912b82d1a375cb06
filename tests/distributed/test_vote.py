"""Ranks that take steps together stop after the same one, whatever their clocks say."""

from __future__ import annotations

from helpers.thread_ranks import run_ranks

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.distributed.vote import MOST_STEPS, StepwiseVote


def test_all_ranks_stop_after_the_same_step() -> None:
    def work(ranks: Ranks) -> int:
        done = 0
        now = 0.0

        def clock() -> float:
            nonlocal now
            now += 1000.0 * ranks.rank + 0.01  # the first rank's tells that steps are fast
            return now

        vote = StepwiseVote(ranks, lambda: ranks.rank == 2 and done >= 40, clock)
        for done in range(1, 200):
            if vote():
                return done
        return 0

    stopped = run_ranks(3, work)
    assert stopped == [stopped[0]] * 3
    assert 40 <= stopped[0] <= 40 + MOST_STEPS


def test_votes_are_a_second_apart() -> None:
    now = 0.0
    asked: list[float] = []
    vote = StepwiseVote(Ranks.alone(), lambda: bool(asked.append(now)), lambda: now)  # type: ignore[func-returns-value]
    for _ in range(40):
        now += 0.25
        vote()
    assert asked[:4] == [0.25, 1.25, 2.25, 3.25]
