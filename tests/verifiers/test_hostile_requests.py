"""A reward server whose socket gets what no client sends, and what another one has sent."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.reward_servers import RewardServer, client_config

from prorl_mega.types import Problem
from prorl_mega.verifiers.remote.client import RemoteVerifiers
from prorl_mega.verifiers.remote.protocol import sign_request, summary, unseal
from prorl_mega.verifiers.remote.token import read_token

PROBLEM = Problem(key="bad/0", task="bad", prompt="p", entry={})


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secret") / "token"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[RewardServer]:
    server = RewardServer(tmp_path_factory.mktemp("server"), token_file)
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def client(server: RewardServer, token_file: Path) -> Iterator[RemoteVerifiers]:
    with RemoteVerifiers(client_config(token_file, [server.address])) as client:
        yield client


def reply_to(server: RewardServer, method: str, path: str, body: bytes, header: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.address, timeout=60)
    try:
        connection.request(method, path, body, {"Authorization": header})
        response = connection.getresponse()
        return response.status, response.read().lstrip()
    finally:
        connection.close()


def test_a_request_that_is_sent_again_changes_nothing(
    server: RewardServer, token_file: Path, client: RemoteVerifiers
) -> None:
    """Whoever has listened can have the same answers judged again, and reads no more out of it than the first time;
    another request cannot be made of it."""
    token = read_token(str(token_file))
    problem = {"key": "bad/0", "task": "bad", "prompt": "p", "entry": {}}
    question = {"entries": summary(client.endpoints[0].entries),
                "answers": [{"id": 0, "problem": problem, "answer": "good"}]}  # fmt: skip
    body = json.dumps(question).encode()
    header, nonce = sign_request(token, "POST", "/score", body)
    replies = [reply_to(server, "POST", "/score", body, header) for _ in range(2)]
    assert [status for status, _ in replies] == [200, 200]
    verdicts = [json.loads(unseal(token, nonce, content))["verdicts"] for _, content in replies]
    assert verdicts[0] == verdicts[1]
    assert verdicts[0][0]["reward"] == 1.0
    assert reply_to(server, "GET", "/tasks", b"", header)[0] == 401
    assert reply_to(server, "POST", "/score", body.replace(b"good", b"half"), header)[0] == 400


def test_whatever_comes_through_the_socket_does_no_harm(
    server: RewardServer, client: RemoteVerifiers, tmp_path: Path
) -> None:
    """Nor is a word of it in the log. The last test: it ends the server."""
    evil = pickle.dumps(Evil(tmp_path / "canary"))
    host, _, port = server.address.rpartition(":")
    for content in (b"\x00" * 9, b"\xff" * 70_000, evil, len(evil).to_bytes(8, "little") + evil, b"GET " + evil):
        address = (host, int(port))
        with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=30) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1 << 16)[:12] in (b"HTTP/1.0 400", b"HTTP/1.1 400", b"")
    with client.batch() as batch:
        batch.add(PROBLEM, "good")
        assert [verdict.reward for verdict in batch.verdicts()] == [1.0]
    assert server.stop() == (0, server.said)
    assert not (tmp_path / "canary").exists()
    pickle.loads(evil)
    assert (tmp_path / "canary").exists(), "loaded by somebody, it would have been seen"
