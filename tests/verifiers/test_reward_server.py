"""A reward server, a real process, against clients that are honest, hostile, slow or gone."""

from __future__ import annotations

import http.client
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.hostile_tasks import hostile_config
from helpers.reward_servers import RewardServer, client_config

from prorl_mega.config.schema import ServeConfig, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.types import Outcome, Problem
from prorl_mega.verifiers.pool import VerifierPool
from prorl_mega.verifiers.remote.client import RemoteVerifiers
from prorl_mega.verifiers.remote.protocol import MAX_ANSWERS, sign_request, summary, unseal
from prorl_mega.verifiers.remote.server import _socket
from prorl_mega.verifiers.remote.token import obtain_token, read_token

PROBLEM = Problem(key="bad/0", task="bad", prompt="problem é \ud800", entry={"numbers": [1, 2.5, None]})
REQUEST_S = 1.0


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secret") / "token"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[RewardServer]:
    """One for all; the last test of this file ends it."""
    limits = ["tasks.serve.max_request_mib=1", f"tasks.serve.request_s={REQUEST_S}", "tasks.timeout_s=2.0"]
    server = RewardServer(tmp_path_factory.mktemp("server"), token_file, *limits)
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def client(server: RewardServer, token_file: Path) -> Iterator[RemoteVerifiers]:
    with RemoteVerifiers(client_config(token_file, [server.address])) as client:
        yield client


def ask(
    server: RewardServer, method: str, path: str, body: bytes = b"", *, token: str = "", header: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and content, of a request that is signed with `token` or has another `header`; "": none."""
    if header is None:
        header, nonce = sign_request(token, method, path, body)
    connection = http.client.HTTPConnection(server.address, timeout=60)
    try:
        connection.request(method, path, body, {"Authorization": header} if header else {})
        response = connection.getresponse()
        content = response.read()
        blanks = content.lstrip() != content
        found = json.loads(unseal(token, nonce, content.lstrip()) if response.status == 200 else content)
        return response.status, {"blanks": blanks} | found
    finally:
        connection.close()


def is_alive(client: RemoteVerifiers) -> bool:
    with client.batch() as batch:
        batch.add(PROBLEM, "good")
        return [verdict.reward for verdict in batch.verdicts()] == [1.0]


def test_verdicts_are_those_of_the_local_pool(client: RemoteVerifiers) -> None:
    answers = ["good", "bad", "half", "raise", "nan", "é\ud800", "", "good " * 9] * 20 + ["exit", "two", "good"]
    with client.batch() as batch:
        for answer in answers:
            batch.add(PROBLEM, answer)
            batch.poll()
        verdicts = batch.verdicts()
    with VerifierPool(hostile_config(workers=1)) as pool:
        assert verdicts == pool.score([(PROBLEM, answer) for answer in answers])
        local = pool.counters
    assert {verdict.outcome for verdict in verdicts} == set(Outcome)
    counted = [(s.answers, s.infra_errors, s.retries, s.crashes, s.timeouts) for s in (batch.scoring, local)]
    assert counted[0] == counted[1]
    assert client.counters.answers == len(answers)


def test_a_hanging_answer_is_killed_over_there(client: RemoteVerifiers) -> None:
    with client.batch() as batch:
        for answer in ("good", "sleep", "good"):
            batch.add(PROBLEM, answer)
        verdicts = batch.verdicts()
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 1.0]
    assert "within 2 s" in verdicts[1].detail
    assert batch.scoring.timeouts == 2


def test_work_that_takes_long_is_not_silent(server: RewardServer, token_file: Path, client: RemoteVerifiers) -> None:
    body = json.dumps({"entries": summary(client.endpoints[0].entries), "answers": [answer(answer="sleep")]}).encode()
    status, found = ask(server, "POST", "/score", body, token=read_token(str(token_file)))
    assert status == 200
    assert found["blanks"]
    assert found["verdicts"][0]["outcome"] == "infra_error"


def headers(token: str) -> dict[str, str]:
    """Those that a server must not believe when somebody asks it for GET /tasks."""
    right = sign_request(token, "GET", "/tasks", b"")[0]
    return {
        "none": "",
        "the token": f"Bearer {token}",
        "scheme alone": "PRORL",
        "three words": "PRORL a b",
        "blanks": "PRORL   ",
        "five words": f"{right} x",
        "more blanks": right.replace(" ", "  "),
        "another token": sign_request(token + "x", "GET", "/tasks", b"")[0],
        "no token": sign_request("", "GET", "/tasks", b"")[0],
        "another method": sign_request(token, "POST", "/tasks", b"")[0],
        "another path": sign_request(token, "GET", "/score", b"")[0],
        "another nonce": right.replace(right.split(" ")[1], "0" * 32),
        "cut short": right[:-1],
        "not text": "PRORL \xe9 \xff \x80",
        "long": "x" * 5000,
    }


@pytest.mark.parametrize("name", headers("t"))
def test_nobody_is_served_without_the_token(server: RewardServer, token_file: Path, name: str) -> None:
    header = headers(read_token(str(token_file)))[name]
    status, found = ask(server, "GET", "/tasks", header=header)
    assert (status, found["error"]) == (401, "the request is not signed with the token of this server")


@pytest.mark.parametrize(("method", "path"), [("POST", "/score"), ("GET", "/"), ("PUT", "/tasks"), ("GET", "/metrics")])
def test_no_page_is_open(server: RewardServer, method: str, path: str) -> None:
    assert ask(server, method, path, b"{}", token="wrong")[0] == 401


def test_a_body_that_was_not_signed_is_refused(server: RewardServer, token_file: Path) -> None:
    header, _ = sign_request(read_token(str(token_file)), "POST", "/score", b"{}")
    status, found = ask(server, "POST", "/score", b"[]", header=header)
    assert (status, found["error"]) == (400, "the body is not the one that was signed")


def test_with_the_token_there_are_two_pages(server: RewardServer, token_file: Path) -> None:
    token = read_token(str(token_file))
    status, found = ask(server, "GET", "/tasks", token=token)
    assert status == 200
    assert (found["workers"], found["max_bytes"], next(iter(found["entries"]))) == (1, 1 << 20, "bad")
    assert ask(server, "GET", "/metrics", token=token)[0] == 404
    assert ask(server, "POST", "/tasks", token=token)[0] == 405


def test_what_is_too_large_is_refused_and_not_kept(
    server: RewardServer, token_file: Path, client: RemoteVerifiers
) -> None:
    token = read_token(str(token_file))
    assert ask(server, "POST", "/score", b"x" * ((1 << 20) + 1), token=token)[0] == 413
    header, _ = sign_request(token, "POST", "/score", b"")
    with socket.create_connection(server.address.split(":")) as endless:  # type: ignore[arg-type]
        endless.sendall(
            f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\nContent-Length: 9999999999\r\n\r\n".encode()
        )  # fmt: skip
        before = psutil.Process(server.process.pid).memory_info().rss
        for _ in range(64):
            endless.sendall(b"x" * (1 << 20))
        assert b" 413 " in endless.recv(1 << 16)
        assert psutil.Process(server.process.pid).memory_info().rss < before + (16 << 20), "what comes is thrown away"
    large = Problem(key="bad/1", task="bad", prompt="x" * (1 << 20))
    with client.batch() as batch:
        for problem in (PROBLEM, large, PROBLEM):
            batch.add(problem, "good")
        verdicts = batch.verdicts()
    assert [verdict.reward for verdict in verdicts] == [1.0, 0.0, 1.0]
    assert f"takes {1 << 20}" in verdicts[1].detail


def answer(**changes: object) -> dict[str, object]:
    problem = {"key": "bad/0", "task": "bad", "prompt": "p", "entry": {}}
    return {"id": 0, "problem": problem, "answer": "good"} | changes


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (pickle.dumps(print), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "settings"),
        ({"entries": "0"}, "settings"),
        ({"answers": None}, "answers"),
        ({"answers": []}, "answers"),
        ({"answers": [answer()] * (MAX_ANSWERS + 1)}, "answers"),
        ({"answers": [1]}, "$.answers[0]"),
        ({"answers": [answer(problem={})]}, "missing required field `key`"),
        ({"answers": [answer(answer=5)]}, "$.answers[0].answer"),
        ({"answers": [answer(more=5)]}, "unknown field `more`"),
        ({"answers": [answer(**{"\ud800": 5})]}, "surrogates not allowed"),
        ({"answers": [answer(answer="x" * 300_000)]}, "length <= 262144"),
        ({"answers": [answer(id=True)]}, "$.answers[0].id"),
        ({"answers": [answer(problem={"key": "k", "task": "t", "prompt": "p", "entry": {}})]}, "no entry 't'"),
        (
            {"answers": [answer(problem={"key": "k", "task": "bad", "prompt": "p", "entry": []})]},
            "$.answers[0].problem.entry",
        ),
    ],
)
def test_garbage_is_refused_in_words(
    server: RewardServer, token_file: Path, client: RemoteVerifiers, body: object, error: str
) -> None:
    if isinstance(body, dict):
        body = json.dumps({"entries": summary(client.endpoints[0].entries)} | body).encode()
    status, found = ask(server, "POST", "/score", body, token=read_token(str(token_file)))  # type: ignore[arg-type]
    assert status == 400
    assert error in found["error"]


@pytest.mark.parametrize("dripped", ["header", "body"])
def test_a_request_that_drips_is_ended(
    server: RewardServer, token_file: Path, client: RemoteVerifiers, dripped: str
) -> None:
    """A byte every now and then keeps a connection for `request_s`, no longer, and nobody else waits for it."""
    start = b"POST /score HTTP/1.1\r\nX: "
    if dripped == "body":
        header, _ = sign_request(read_token(str(token_file)), "POST", "/score", b"")
        start = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\nContent-Length: 500\r\n\r\n".encode()
    with socket.create_connection(server.address.split(":")) as slow:  # type: ignore[arg-type]
        slow.sendall(start)
        slow.settimeout(0.05)
        received, sent = b"", 0
        try:
            while sent < 400:
                assert sent or is_alive(client)
                slow.sendall(b"x")
                sent += 1
                try:
                    data = slow.recv(4096)
                except TimeoutError:
                    continue
                received += data
                if not data:
                    break
        except ConnectionError:
            pass
    assert 1 <= sent < 400
    assert received == b"" if dripped == "header" else b"408" in received


def test_connections_that_say_nothing_are_bounded_and_closed(server: RewardServer, client: RemoteVerifiers) -> None:
    host, _, port = server.address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    try:
        assert is_alive(client)
        for each in silent:
            each.settimeout(30)
            assert each.recv(1) == b""
    finally:
        for each in silent:
            each.close()


def test_other_settings_are_an_error_that_names_them(server: RewardServer, token_file: Path) -> None:
    config = client_config(token_file, [server.address])
    config.mixture["more"] = TaskConfig(name="arithmetic")
    config.mixture["bad"] = TaskConfig(name="hostile", options={"unknown": 1}, weight=2.0)
    with pytest.raises(ConfigError, match=rf"{server.address}: .* other options for bad; it does not have more"):
        RemoteVerifiers(config)


def test_another_token_is_an_error_that_names_its_file(server: RewardServer, tmp_path: Path) -> None:
    obtain_token(str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"refuses the token of tasks\.token_file=.*other"):
        RemoteVerifiers(client_config(tmp_path / "other", [server.address]))


def test_the_token_stays_in_its_file(server: RewardServer, token_file: Path) -> None:
    token = read_token(str(token_file))
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    for process in [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]:
        assert token not in " ".join(process.cmdline())
        assert token not in str(process.environ())
    assert token not in server.said


def test_the_server_listens_on_this_machine_alone(server: RewardServer) -> None:
    found = [c for c in psutil.Process(server.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in found] == [("127.0.0.1", int(server.address.rpartition(":")[2]))]


def test_sigterm_ends_everything(server: RewardServer, token_file: Path, client: RemoteVerifiers) -> None:
    """In the middle of work. To be the last test of this server."""
    assert is_alive(client)
    children = psutil.Process(server.process.pid).children()
    assert children
    with client.batch() as batch:
        batch.add(PROBLEM, "sleep")
        time.sleep(0.5)  # until it does
        code, said = server.stop()
    assert code == 0
    assert said == server.said, "no traceback, nothing else"
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.parametrize("address", ["192.0.2.7", "::", "0.0.0.0", ""])
def test_other_machines_are_let_in_on_request_only(address: str) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.serve\.address"):
        _socket(ServeConfig(address=address, port=0))


def test_an_address_of_the_network_can_be_asked_for() -> None:
    with _socket(ServeConfig(address="0.0.0.0", port=0, open_to_network=True)) as bound:
        assert bound.getsockname()[0] == "0.0.0.0"
    with pytest.raises(ConfigError, match=r"address=192\.0\.2\.7 .*port=0: Cannot assign"):
        _socket(ServeConfig(address="192.0.2.7", port=0, open_to_network=True))


def test_no_token_no_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prorl_mega.serve", "tasks=arithmetic"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 20
    assert done.stdout == ""
    assert done.stderr.startswith("error: tasks.token_file must be set")


def test_token_files(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    before = os.umask(0)
    try:
        token = obtain_token(str(file))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert obtain_token(str(file)) == token == read_token(str(file))
    assert list(file.parent.iterdir()) == [file]
    file.chmod(0o640)
    link, short, pipe = tmp_path / "link", tmp_path / "short", tmp_path / "pipe"
    link.symlink_to(file)
    short.touch(0o600)
    os.mkfifo(pipe, 0o600)
    for path, message in [
        (file, "mode 0640"),
        (link, "symbolic links"),
        (short, "no token"),
        (pipe, "a file of your own"),
        (tmp_path, "a file of your own"),
        (tmp_path / "none", "No such file"),
    ]:
        with pytest.raises(ConfigError, match=message) as raised:
            read_token(str(path))
        assert token not in str(raised.value)
    with pytest.raises(ConfigError, match="must be set"):
        read_token(None)


def test_servers_without_a_token_file_are_refused_with_the_settings() -> None:
    from prorl_mega.config.validate import validate_tasks

    with pytest.raises(ConfigError, match=r"(?s)'node7' is no reward server.*needs tasks\.token_file"):
        validate_tasks(TasksConfig(mixture={"a": TaskConfig(name="arithmetic")}, servers=["node7", "n:1", "[::1]:2"]))
