"""The grading of an evaluation's answers: verdicts come as they finish, and are those of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.hostile_tasks import hostile_config
from helpers.loose_answers import loose_answers, tasks
from helpers.reward_servers import RewardServer, client_config

from prorl_mega.grader import Grader
from prorl_mega.run.sample_store import StoredVerdict
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.client import RemoteVerifiers

PROBLEM = Problem(key="bad/0", task="bad", prompt="problem")


def test_verdicts_are_written_as_they_come_and_are_those_of_the_pool() -> None:
    texts = [*["good", "bad", "half"] * 70, "exit", "raise", "nan", "good", "half", "bad", "good"]
    written: list[StoredVerdict] = []
    with VerifierPool(hostile_config(workers=2, timeout_s=2.0, retries=0)) as pool:
        with pool.batch() as batch:
            grader = Grader(batch, [PROBLEM] * 7, written.extend)
            for number, text in enumerate(texts):
                grader.add(number % 7, number // 7, text)
            while not grader.wait(0.05):
                assert grader.unfinished == len(texts) - len(written)
            assert batch.drain() == []
            with pytest.raises(AssertionError, match="handed over"):
                batch.verdicts()
        expected = pool.score([(PROBLEM, text) for text in texts])
    found = {(each.problem, each.sample): each.reward for each in written}
    assert len(found) == len(written) == len(texts)
    for number, verdict in enumerate(expected):
        reward = verdict.reward if verdict.outcome is Outcome.SCORED else None
        assert found[number % 7, number // 7] == reward, texts[number]
    assert any(each.detail for each in written if each.reward is None)


def test_a_slow_answer_holds_up_no_verdict_on_others() -> None:
    written: list[StoredVerdict] = []
    with VerifierPool(hostile_config(workers=2, timeout_s=60.0, retries=0)) as pool, pool.batch() as batch:
        grader = Grader(batch, [PROBLEM], written.extend)
        grader.add(0, 0, "sleep")
        grader.add(0, 1, "good")
        while not written:
            grader.poll()
        assert [(each.sample, each.reward) for each in written] == [(1, 1.0)]
        assert grader.unfinished == 1
        assert not grader.wait(0.0)


def test_rewards_in_all_domains_are_those_of_training() -> None:
    rows = loose_answers()
    written: list[StoredVerdict] = []
    with VerifierPool(tasks()) as pool:
        expected = pool.score([(row.problem, row.text) for row in rows])
        with pool.batch() as batch:
            grader = Grader(batch, [row.problem for row in rows], written.extend)
            for number, row in enumerate(rows):
                grader.add(number, 0, row.text)
                grader.poll()
            assert grader.wait(300)
    by_problem = {each.problem: each for each in written}
    for number, verdict in enumerate(expected):
        assert verdict.outcome is Outcome.SCORED
        assert by_problem[number].reward == verdict.reward, rows[number]
        assert by_problem[number].detail.startswith(verdict.detail)
        assert verdict.answer == "", "training does not pay for what it does not need"
    assert {row.problem.task for row in rows} >= {"math", "stem", "logic", "instruction"}


READINGS = {
    "?bad half good bad": (0.0, 1.0),
    "?half bad": (0.0, 0.5),
    "?bad": (0.0, 0.0),
    "?": (0.0, None),
    "good": (1.0, None),
    "bad": (0.0, None),
    "?bad raise good": (0.0, None),
    "?exit": (0.0, None),
    "?two": (0.0, None),
}
"""Answers with both rewards, strict and relaxed. A reading that breaks its verifier costs the relaxed one alone."""


def check_readings(written: list[StoredVerdict], texts: list[str]) -> None:
    assert sorted(each.sample for each in written) == [*range(len(texts))]
    for each in written:
        text = texts[each.sample]
        assert (each.reward, each.relaxed) == READINGS[text], text
        assert each.answer == ("" if text.startswith("?") else text.upper())
    details = {texts[each.sample]: each.detail for each in written}
    assert "its other readings: " in details["?bad raise good"]
    assert "its other readings: " in details["?two"]


def test_other_readings_are_judged_apart_and_the_best_counts() -> None:
    written: list[StoredVerdict] = []
    texts = list(READINGS)
    with VerifierPool(hostile_config(workers=2, timeout_s=2.0, retries=0)) as pool, pool.batch() as batch:
        grader = Grader(batch, [PROBLEM], written.extend)
        for number, text in enumerate(texts):
            grader.add(0, number, text)
        assert grader.wait(60)
    check_readings(written, texts)


def test_reward_servers_hand_over_verdicts_as_they_come(tmp_path: Path) -> None:
    server = RewardServer(tmp_path, tmp_path / "token")
    written: list[StoredVerdict] = []
    texts = ["good", *READINGS, *["good", "bad"] * 50]
    try:
        settings = client_config(tmp_path / "token", [server.address], retries=0)
        with RemoteVerifiers(settings) as client, client.batch() as batch:
            grader = Grader(batch, [PROBLEM], written.extend)
            grader.add(0, 0, texts[0])
            while not written:
                grader.wait(0.1)
            for number, text in enumerate(texts[1:], start=1):
                grader.add(0, number, text)
                grader.poll()
            assert grader.wait(60)
            assert grader.unfinished == 0
    finally:
        server.kill()
    check_readings(written, texts)


def test_what_no_file_can_hold_is_replaced(tmp_path: Path) -> None:
    """A message of a verifier may quote what a model's bytes were."""
    written: list[StoredVerdict] = []
    with VerifierPool(tasks("math")) as pool, pool.batch() as batch:
        problem = Problem(key="math/0", task="math", prompt="p", entry={"answer": "7", "verifier": "unknown \ud800"})
        grader = Grader(batch, [problem], written.extend)
        grader.add(0, 0, r"\boxed{7}")
        assert grader.wait(60)
    assert written[0].reward is None
    assert written[0].detail.encode()
