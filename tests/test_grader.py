"""The grading of an evaluation's answers: verdicts come as they finish, and are those of training."""

from __future__ import annotations

from helpers.hostile_tasks import hostile_config

from prorl_mega.grader import Grader
from prorl_mega.run.sample_store import StoredVerdict
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.pool import VerifierPool

PROBLEM = Problem(key="bad/0", task="bad", prompt="problem")


def test_verdicts_are_written_as_they_come_and_are_those_of_the_pool() -> None:
    texts = ["good", "bad", "half", "exit", "raise", "good", "nan"] * 30
    written: list[StoredVerdict] = []
    with VerifierPool(hostile_config(workers=2, timeout_s=2.0, retries=0)) as pool:
        with pool.batch() as batch:
            grader = Grader(batch, [PROBLEM] * 7, written.extend)
            for number, text in enumerate(texts):
                grader.add(number % 7, number // 7, text)
            while not grader.wait(0.05):
                assert grader.unfinished == len(texts) - len(written)
        expected = pool.score([(PROBLEM, text) for text in texts])
    found = {(each.problem, each.sample): each.reward for each in written}
    assert len(found) == len(written) == len(texts)
    for number, verdict in enumerate(expected):
        reward = verdict.reward if verdict.outcome is Outcome.SCORED else None
        assert found[number % 7, number // 7] == reward, texts[number]
    assert any(each.detail for each in written if each.reward is None)
