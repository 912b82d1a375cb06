"""Nobody but this user's browser gets an answer, and nobody gets one about anything but runs."""

from __future__ import annotations

import gzip
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.live_view import asked, key_of, known, served
from helpers.recorded_run import record_run

from prorl_mega.errors import ConfigError
from prorl_mega.viewing import peers
from prorl_mega.viewing.server import ADDRESS, FIRST_PORT, MOST_CONNECTIONS, ViewServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    record_run(directory / "demo", 10)
    (directory / "secret.txt").write_text("secret")
    return directory


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[ViewServer]:
    with served(runs) as server:
        yield server


def test_pages_and_their_headers(server: ViewServer, runs: Path) -> None:
    for path in ("/", f"/run/{key_of(runs / 'demo')}", "/compare?runs=x", "/assets/uplot.js", "/api/runs"):
        status, headers, body = asked(server, path)
        assert status == 200, path
        assert body
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9999", "LOCALHOST", "[::1]:8700"])
def test_this_machine_may_have_any_of_its_names(server: ViewServer, host: str) -> None:
    assert asked(server, "/api/runs", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "", "127.0.0.1:x", "10.0.0.7"]
)
def test_another_name_is_refused(server: ViewServer, host: str) -> None:
    for path in ("/", "/api/runs", "/assets/list.js"):
        status, _, body = asked(server, path, Host=host)
        assert status == 403
        assert b"demo" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
)
def test_pages_of_other_sites_get_no_numbers(server: ViewServer, headers: dict[str, str]) -> None:
    assert asked(server, "/api/runs", **headers)[0] == 403


def test_a_link_of_another_site_opens_the_page(server: ViewServer) -> None:
    assert asked(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert asked(server, "/api/runs", Sec_Fetch_Site="same-origin", Origin=f"http://127.0.0.1:{server.port}")[0] == 200


def test_two_hosts_are_refused(server: ViewServer) -> None:
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert b" 403 " in connection.recv(200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_only_reading(server: ViewServer, method: str) -> None:
    assert asked(server, "/api/runs", method)[0] == 405


def test_head_has_no_body(server: ViewServer) -> None:
    status, headers, body = asked(server, "/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/assets//etc/passwd",
        "/assets/",
        "/run/../../etc/passwd",
        "/api/run/secret.txt",
        "/api/run/0000000000000000",
        "/api/answers/{key}?step=../../secret",
        "/api/answers/{key}?step=-1",
        "/api/answers/{key}?step=99999999999",
        "/api/settings/{key}/../../secret.txt",
        "/secret.txt",
        "/%2e%2e/secret.txt",
        "/\\..\\secret.txt",
    ],
)
def test_no_path_leads_to_another_file(server: ViewServer, runs: Path, path: str) -> None:
    status, _, body = asked(server, path.replace("{key}", key_of(runs / "demo")))
    assert status == 404
    assert b"secret" not in body


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "runs"
    record_run(outside / "run", 5)
    record_run(inside / "run", 5)
    (inside / "linked").symlink_to(outside / "run")
    for name in ("samples", "evaluation", "metrics.jsonl", "config.yaml"):
        path = inside / "run" / name
        path.rename(tmp_path / name)
        path.symlink_to(tmp_path / name)
    (inside / "run" / "LOCK").symlink_to("/etc/hostname")
    (inside / "run" / "checkpoints").mkdir()
    with served(inside) as server:
        assert known(server, "/api/runs")["runs"] == []
        (inside / "run" / "metrics.jsonl").unlink()
        (inside / "run" / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5}\n')
        deadline = time.monotonic() + 20
        while not (found := known(server, "/api/runs")["runs"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [(run["name"], run["steps"], run["state"]) for run in found] == [("run", None, "idle")]
        parts = known(server, f"/api/run/{key_of(inside / 'run')}")["parts"]
        assert (parts["answers"]["content"], parts["evaluations"]["content"]) == ({"count": 0}, [])


def test_a_root_may_lie_behind_a_link(tmp_path: Path) -> None:
    record_run(tmp_path / "scratch" / "run", 5)
    (tmp_path / "runs").symlink_to(tmp_path / "scratch")
    with served(tmp_path / "runs") as server:
        assert len(known(server, "/api/runs")["runs"]) == 1


BROKEN = {
    "short": b"GET\r\n\r\n",
    "bytes": b"\0\xff\r\n\r\n",
    "pickle": pickle.dumps(os.getcwd),
    "length": b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",  # and no Host
    "version": b"GET / HTTP/9.9\r\n\r\n",
    "long": b"GET /" + b"x" * 70_000,
    "address": b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % each for each in range(300)) + b"\r\n",
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN.keys())
def test_broken_requests_end_a_connection_and_nothing_else(server: ViewServer, request_: bytes) -> None:
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while part := connection.recv(1 << 16):
            reply += part
        assert reply.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert asked(server, "/api/runs")[0] == 200


def test_connections_are_bounded(runs: Path) -> None:
    with served(runs) as server:
        held = [socket.create_connection((ADDRESS, server.port), timeout=10) for _ in range(MOST_CONNECTIONS)]
        try:
            for connection in held:
                connection.sendall(b"GET / HTTP/1.1\r\n")  # a request that never ends
            with socket.create_connection((ADDRESS, server.port), timeout=10) as one_more:
                assert one_more.recv(100).startswith(b"HTTP/1.1 503 ")
        finally:
            for connection in held:
                connection.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                if asked(server, "/api/runs")[0] == 200:
                    break
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_answers_are_packed_and_not_sent_twice(server: ViewServer) -> None:
    plain = asked(server, "/assets/charts.js")
    packed = asked(server, "/assets/charts.js", Accept_Encoding="gzip")
    assert gzip.decompress(packed[2]) == plain[2]
    status, _, body = asked(server, "/assets/charts.js", If_None_Match=plain[1]["ETag"])
    assert (status, body) == (304, b"")


def test_a_port_that_is_taken() -> None:
    with ViewServer(lambda path, query: None, 0) as first:
        with pytest.raises(ConfigError, match=f"port {first.port}: in use"):
            ViewServer(lambda path, query: None, first.port)
        with ViewServer(lambda path, query: None) as second, ViewServer(lambda path, query: None) as third:
            assert FIRST_PORT <= second.port < third.port


def greeting(server: ViewServer) -> bytes:
    """The words of the server to a connection that asks for nothing: none, unless it is turned away."""
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.settimeout(1.0)
        try:
            return connection.recv(1000)
        except TimeoutError:
            return b""


def test_another_user_of_this_machine(server: ViewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert greeting(server) == b""
    if os.getuid() == 0:
        code = (
            "import os, socket, encodings.idna; os.setuid(54321); "
            f"c = socket.create_connection(('{ADDRESS}', {server.port})); print(c.makefile().read())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith("HTTP/1.1 403 ")
        assert "this page belongs to another user" in done.stdout
        monkeypatch.setattr(peers.os, "getuid", lambda: 54321)
        assert greeting(server) == b"", "root may read everything anyway"
    else:
        monkeypatch.setattr(peers.os, "getuid", lambda: 54321)
        assert greeting(server).startswith(b"HTTP/1.1 403 ")


def test_the_program_says_where_it_is_and_ends_at_once(runs: Path) -> None:
    command = [sys.executable, "-m", "prorl_mega.view", str(runs), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert f"{runs}: http://127.0.0.1:" in said
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
