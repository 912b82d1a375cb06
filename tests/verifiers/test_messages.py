"""Messages between processes and machines: what survives the way, and what is not believed."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.hostile_tasks import hostile_config

from prorl_mega.sandbox.channel import MAX_MESSAGE, BrokenMessageError, Inbox, dump, encode, load
from prorl_mega.verifiers.messages import AnswerMessage, ProblemMessage, WorkerReply, WorkerRequest
from prorl_mega.verifiers.remote import protocol

ENTRY = {"text": "\ud800", "\udfff": [1.5, None, True], "large": 10**40, "deep": [[{"a": {}}]]}
VERDICT = {"id": 1, "reward": 0.5, "outcome": "scored", "detail": ""}


def test_what_json_can_say_arrives_as_it_was() -> None:
    """Also what msgspec's own reader and writer refuse: lone surrogates, large integers, and NaN."""
    sent = AnswerMessage(7, ProblemMessage("k", "t", "p \ud800", ENTRY), "answer \udc00")
    assert load(dump(sent), AnswerMessage) == sent
    nan = AnswerMessage(7, ProblemMessage("k", "t", "p", {"x": math.nan}), "")
    assert math.isnan(load(dump(nan), AnswerMessage).problem.entry["x"])


@pytest.mark.parametrize(
    "entry",
    ['18446744073709551616', '-9223372036854775809', '123456789012345678901234567890', '-0', '1.0', '1E5', '1e400',
     '0.1234567890123456789', 'NaN', '-Infinity', '"\\ud800"', '"\\u0000é"', '[[], {}, null]', '{"a": 1, "a": 2}'],
)  # fmt: skip
def test_both_readers_of_messages_say_the_same(entry: str) -> None:
    """What msgspec reads is what the standard library reads; what it refuses is left to that."""
    problem = f'{{"key": "k", "task": "t", "prompt": "p", "entry": {{"x": {entry}}}}}'
    body = f'{{"id": 3, "problem": {problem}, "answer": "a", "grading": "strict"}}'.encode()
    found = load(body, AnswerMessage)
    expected = msgspec.convert(json.loads(body), AnswerMessage)
    assert repr(found) == repr(expected)  # NaN is not NaN
    assert type(found.problem.entry["x"]) is type(expected.problem.entry["x"])


def test_messages_arrive_in_pieces() -> None:
    inbox, data = Inbox(WorkerReply), encode(WorkerReply("ready", 0.5)) * 2
    received = [reply for byte in data for reply in inbox.feed(bytes([byte]))]
    assert received == [WorkerReply("ready", 0.5)] * 2


def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(BrokenMessageError, match="was announced"):
        list(Inbox(WorkerReply).feed((MAX_MESSAGE + 1).to_bytes(4, "little")))


@pytest.mark.parametrize(
    "reply",
    [
        {"event": "ready"},
        {"event": "other", "processor_s": 0.0},
        {"event": "ready", "processor_s": "0"},
        {"event": "ready", "processor_s": math.nan},
        {"event": "ready", "processor_s": 0.0, "more": 1},
        {"event": "ready", "processor_s": 0.0, "\ud800": 1},
        *(
            {"event": VERDICT | change, "processor_s": 0.0}
            for change in (
                {"id": "1"},
                {"id": True},
                {"reward": math.nan},
                {"reward": math.inf},
                {"reward": 1.1e6},
                {"reward": "1"},
                {"reward": True},
                {"reward": None},
                {"outcome": "passed"},
                {"outcome": "\ud800"},
                {"detail": 5},
                {"detail": "x" * 301},
                {"more": 1},
            )
        ),
        [],
        None,
    ],
)
def test_a_worker_that_sends_anything_else_is_not_believed(reply: Any) -> None:
    good = {"event": VERDICT, "processor_s": 0.0}
    assert load(json.dumps(good).encode(), WorkerReply).processor_s == 0.0
    with pytest.raises(BrokenMessageError):
        load(json.dumps(reply).encode(), WorkerReply)


def test_bytes_and_objects_of_a_problem_are_an_error_of_the_task() -> None:
    for entry in ({"bytes": b"x"}, {"set": {1}}):
        message = WorkerRequest(answers=[AnswerMessage(0, ProblemMessage("k", "t", "p", entry), "")])
        with pytest.raises(TypeError, match="not JSON serializable"):
            encode(message)


def test_the_code_that_servers_and_clients_compare_is_all_that_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = Path.read_bytes

    def noting(path: Path) -> bytes:
        read.append(path)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", noting)
    before = protocol.digests(hostile_config())
    package = Path(protocol.__file__).parents[2]
    found = {str(path.relative_to(package)) for path in read if path.is_relative_to(package)}
    assert found >= {
        "tasks/registry.py",
        "verifiers/worker.py",
        "verifiers/remote/protocol.py",
        "sandbox/guest/values.py",
    }
    changed = package / "tasks" / "registry.py"
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + (b"#" if path == changed else b""))
    after = protocol.digests(hostile_config())
    assert protocol.compare(before, after) == "its code is of another version"
    assert protocol.summary(before) != protocol.summary(after)


def test_a_server_of_another_version_is_refused_for_that_reason() -> None:
    """Whatever else it sends."""
    ours = protocol.digests(hostile_config())
    theirs = load(json.dumps({"protocol": 3, "entries": ours | {protocol.CODE: "0"}}).encode(), protocol.Claim)
    assert protocol.compare(ours, theirs.entries) == "its code is of another version"
    body = json.dumps({"entries": "0", "jobs": []}).encode()
    with pytest.raises(BrokenMessageError, match="see GET /tasks"):
        protocol.read_request(body, sha256(body).hexdigest(), ours)
