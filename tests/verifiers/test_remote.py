"""The client of reward servers: servers that die, lie, fall silent or were never there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.reward_servers import TOKEN, RewardServer, client_config, impostor

from prorl_mega.errors import ConfigError
from prorl_mega.types import Outcome, Problem, Verdict
from prorl_mega.verifiers.batch import CHUNK
from prorl_mega.verifiers.remote import client as remote
from prorl_mega.verifiers.remote import endpoint
from prorl_mega.verifiers.remote.client import RemoteVerifiers
from prorl_mega.verifiers.remote.protocol import digests

PROBLEM = Problem(key="bad/0", task="bad", prompt="problem")
NOWHERE = "127.0.0.1:9"  # the port of a service that throws away what it gets, and that nobody runs any more


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.01, 0.02, 0.03, 0.04, 0.05))
    monkeypatch.setattr(remote, "BUSY_S", 0.02)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN)
    return file


class Honest:
    """A server that scores "good" with 1 and the rest with 0, until it is told to do something else."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.entries = digests(client_config(Path("none"), []))
        self.sizes: list[int] = []  # answers in each request
        self.misbehave: Callable[[dict[str, Any]], tuple[int, bytes] | None] = lambda reply: None
        self.texts: list[str] = []

    def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/tasks":
            found = {"entries": self.entries, "workers": self.workers, "max_bytes": 1 << 20}
            return 200, json.dumps(found).encode()
        answers = json.loads(body)["answers"]
        self.sizes.append(len(answers))
        self.texts += [each["answer"] for each in answers]
        verdicts = [
            {"id": each["id"], "reward": float(each["answer"] == "good"), "outcome": "scored", "detail": ""}
            for each in answers
        ]
        counts = {"retries": 0, "timeouts": 0, "crashes": 0, "started": 0}
        reply = {"verdicts": verdicts, "scoring": counts}
        return self.misbehave(reply) or (200, json.dumps(reply).encode())


def score(client: RemoteVerifiers, answers: list[str]) -> list[Verdict]:
    with client.batch() as batch:
        for answer in answers:
            batch.add(PROBLEM, answer)
        return batch.verdicts()


def test_a_server_that_is_killed_loses_no_answer(tmp_path: Path, token_file: Path) -> None:
    """Two processes. One is killed when both are at work, the other one later."""
    first = RewardServer(tmp_path / "a", token_file)
    second = RewardServer(tmp_path / "b", token_file)
    answers = ["good" if i % 3 else "bad" for i in range(600)]
    expected = [float(answer == "good") for answer in answers]
    try:
        addresses = [first.address, second.address]
        with RemoteVerifiers(client_config(token_file, addresses, retries=0)) as client:
            with client.batch() as batch:
                batch.add(PROBLEM, "work")  # half a second
                batch.add(PROBLEM, "work")
                for answer in answers:
                    batch.add(PROBLEM, answer)
                while {each.working for each in client.endpoints} != {1}:
                    time.sleep(0.001)
                first.kill()
                verdicts = batch.verdicts()
            assert [verdict.reward for verdict in verdicts] == [0.0, 0.0, *expected]
            assert {verdict.outcome for verdict in verdicts} == {Outcome.SCORED}
            assert batch.scoring.crashes >= 1
            second.kill()
            verdicts = score(client, answers[:5])
            assert {verdict.outcome for verdict in verdicts} == {Outcome.INFRA_ERROR}
            for address in addresses:
                assert f"{address}: Connection refused" in verdicts[0].detail
    finally:
        first.kill()
        second.kill()


def test_work_goes_where_processes_are_free(token_file: Path) -> None:
    """Requests to the large server go on while those to the small one hang."""
    small, large = Honest(workers=1), Honest(workers=3)
    released = threading.Event()
    small.misbehave = lambda reply: (released.wait(10), None)[1]
    with (
        impostor(small) as a,
        impostor(large) as b,
        RemoteVerifiers(client_config(token_file, [a, b])) as client,
        client.batch() as batch,
    ):
        for i in range(200):
            batch.add(PROBLEM, "good" if i % 2 else "bad")
        while batch.scoring.answers < 200 - max(small.sizes, default=0):
            time.sleep(0.001)
        released.set()
        verdicts = batch.verdicts()
    assert [verdict.reward for verdict in verdicts] == [float(i % 2) for i in range(200)]
    assert len(small.sizes) == 1 < len(large.sizes)
    assert sum(small.sizes) + sum(large.sizes) == 200
    assert max(small.sizes + large.sizes) <= CHUNK


def wrong_replies() -> dict[str, Callable[[dict[str, Any]], tuple[int, bytes] | None]]:
    def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], tuple[int, bytes]]:
        return lambda reply: (200, json.dumps(change(reply)).encode())

    return {
        "fewer": changed(lambda reply: reply | {"verdicts": reply["verdicts"][:-1]}),
        "more": changed(lambda reply: reply | {"verdicts": reply["verdicts"] * 2}),
        "others": changed(lambda reply: reply | {"verdicts": [v | {"id": v["id"] + 1} for v in reply["verdicts"]]}),
        "no list": changed(lambda reply: reply | {"verdicts": {"0": 1.0}}),
        "no counts": changed(lambda reply: {"verdicts": reply["verdicts"]}),
        "no object": changed(lambda reply: reply["verdicts"]),
        "no json": lambda reply: (200, b"\x80\x04good"),
        "nothing": lambda reply: (200, b""),
        "much": changed(lambda reply: reply | {"more": "x" * (5 << 20)}),
        "an error": lambda reply: (500, b"<html>"),
        "refused": lambda reply: (400, b'{"error": "settings"}'),
        "elsewhere": lambda reply: (302, b""),
        "silence": lambda reply: threading.Event().wait(2) or None,  # type: ignore[dict-item,return-value]
    }


@pytest.mark.parametrize("name", wrong_replies())
def test_a_server_that_talks_nonsense_is_not_believed(
    token_file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone it makes infrastructure errors, soon; beside another one it does no harm."""
    liar, honest = Honest(), Honest()
    liar.misbehave = wrong_replies()[name]
    if name == "silence":
        monkeypatch.setattr(endpoint, "SILENCE_S", 1.0)
    with impostor(liar) as a, impostor(honest) as b:
        if name != "silence":
            with RemoteVerifiers(client_config(token_file, [a], retries=1)) as client:
                verdicts = score(client, ["good"] * 5)
                assert {verdict.outcome for verdict in verdicts} == {Outcome.INFRA_ERROR}
                assert all(a in verdict.detail for verdict in verdicts)
        with RemoteVerifiers(client_config(token_file, [a, b], retries=0)) as client:
            verdicts = score(client, ["good", "bad"] * 20)
            assert [verdict.reward for verdict in verdicts] == [1.0, 0.0] * 20
            assert client.counters.crashes >= 1


@pytest.mark.parametrize("retries", [0, 2])
def test_an_answer_that_breaks_a_server_is_tried_as_often_as_the_settings_say(token_file: Path, retries: int) -> None:
    """Those that came along with it are not."""
    fragile = Honest()
    answers = [*(["good", "bad"] * 20), "poison", "good"]
    fragile.misbehave = lambda reply: (500, b"{}") if 40 in {each["id"] for each in reply["verdicts"]} else None
    with impostor(fragile) as address, RemoteVerifiers(client_config(token_file, [address], retries=retries)) as client:
        verdicts = score(client, answers)
    assert verdicts[-2].outcome is Outcome.INFRA_ERROR
    assert fragile.texts.count("poison") == retries + 1
    if retries:
        assert [verdict.reward for verdict in verdicts] == [float(answer == "good") for answer in answers]


@pytest.mark.parametrize("reward", [2.0, -0.1, None, "1.0", True, float("nan"), float("inf")])
def test_rewards_are_checked_here_as_well(token_file: Path, reward: object) -> None:
    liar = Honest()

    def lie(reply: dict[str, Any]) -> tuple[int, bytes]:
        reply["verdicts"][0]["reward"] = reward
        return 200, json.dumps(reply).encode()

    liar.misbehave = lie
    with impostor(liar) as address, RemoteVerifiers(client_config(token_file, [address])) as client:
        (verdict,) = score(client, ["good"])
    assert verdict.outcome is Outcome.INFRA_ERROR


def test_a_program_that_has_taken_the_place_of_a_server_is_not_believed(token_file: Path) -> None:
    """It does not learn the token either, which does not travel."""
    thief, honest = Honest(), Honest()
    with impostor(thief, token="something else") as a, impostor(honest) as b:
        with RemoteVerifiers(client_config(token_file, [a, b], retries=0)) as client:
            assert [verdict.reward for verdict in score(client, ["good", "bad"] * 20)] == [1.0, 0.0] * 20
        assert thief.texts == []
        with pytest.raises(ConfigError, match=f"{a}: its reply is not signed with the token"):
            RemoteVerifiers(client_config(token_file, [a]))


def test_a_busy_server_is_asked_again(token_file: Path) -> None:
    busy = Honest()
    busy.misbehave = lambda reply: (503, b"{}") if len(busy.sizes) <= 12 else None
    with impostor(busy) as address, RemoteVerifiers(client_config(token_file, [address], retries=0)) as client:
        assert [verdict.reward for verdict in score(client, ["good", "bad"])] == [1.0, 0.0]
    assert client.counters.crashes == client.counters.retries == 0


def test_a_server_that_is_always_busy_is_given_up(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BUSY_S", 0.0)
    monkeypatch.setattr(remote, "MAX_BUSY", 3)
    busy = Honest()
    busy.misbehave = lambda reply: (503, b"{}")
    with impostor(busy) as address, RemoteVerifiers(client_config(token_file, [address])) as client:
        (verdict,) = score(client, ["good"])
    assert "too many requests all the time" in verdict.detail


def test_a_server_that_returns_with_other_tasks_gets_no_work(token_file: Path) -> None:
    turncoat = Honest()

    def turn(reply: dict[str, Any]) -> tuple[int, bytes]:
        turncoat.entries = turncoat.entries | {"bad": "other", "new": "1"}
        return 500, b"{}"

    turncoat.misbehave = turn
    with impostor(turncoat) as address, RemoteVerifiers(client_config(token_file, [address], retries=5)) as client:
        (verdict,) = score(client, ["good"])
    assert "it has other options for bad; only it has new" in verdict.detail
    assert len(turncoat.sizes) == 1


def test_no_server_at_all_is_an_error_at_the_start(token_file: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"no reward server answers \({NOWHERE}: Connection refused\).*python -m prorl_mega\.serve",
    ):
        RemoteVerifiers(client_config(token_file, [NOWHERE]))
    before = threading.active_count()
    with impostor(Honest()) as address, RemoteVerifiers(client_config(token_file, [NOWHERE, address])) as client:
        assert [verdict.reward for verdict in score(client, ["bad", "good"])] == [0.0, 1.0]
    assert threading.active_count() == before


def test_a_batch_that_is_left_is_given_up(token_file: Path) -> None:
    slow = Honest()
    released = threading.Event()
    slow.misbehave = lambda reply: (released.wait(10), None)[1]
    with impostor(slow) as address, RemoteVerifiers(client_config(token_file, [address])) as client:
        with client.batch() as batch:
            batch.add(PROBLEM, "good")
            while not slow.sizes:
                time.sleep(0.001)
        assert batch.scoring.answers == 0
        assert client.endpoints[0].working == 0
        released.set()
        assert [verdict.reward for verdict in score(client, ["bad", "good"])] == [0.0, 1.0]


def test_what_cannot_be_sent_is_raised_where_verdicts_are_waited_for(token_file: Path) -> None:
    broken = Problem(key="bad/1", task="bad", prompt="p", entry={"bytes": b"no JSON"})
    with impostor(Honest()) as address, RemoteVerifiers(client_config(token_file, [address])) as client:
        with client.batch() as batch:
            batch.add(broken, "good")
            with pytest.raises(TypeError, match="not JSON serializable"):
                batch.verdicts()
        assert score(client, ["good"])[0].reward == 1.0
