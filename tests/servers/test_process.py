"""A server as a process: it ends with whoever started it, whatever happens, and its last words are kept."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.fleets import FAKE, TOKEN

from prorl_mega.errors import RolloutError
from prorl_mega.servers.process import ServerProcess, server_launcher

SETTINGS = {"token": TOKEN, "address": "127.0.0.1"}
PARENT = """
import json, sys, time
from pathlib import Path
from prorl_mega.servers.process import ServerProcess
process = ServerProcess(json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
import asyncio
import json
asyncio.run(process.port(60.0))
print(process.pid, flush=True)
time.sleep(600)
"""


def has_ended(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(tmp_path: Path, way: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(FAKE), json.dumps(SETTINGS), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert not has_ended(server)
        parent.send_signal(way)
        parent.wait()
    began = time.monotonic()
    while not has_ended(server):
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_it_does_not_see_the_ranks_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    process = server_launcher(SETTINGS, tmp_path, command=lambda name: FAKE, environment=lambda name: {"OWN": name})(
        "a"
    )
    try:
        asyncio.run(process.port(60.0))
        seen = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        assert b"OWN=a" in seen
        assert not [each for each in seen if each.startswith((b"WORLD_SIZE=", b"MASTER_ADDR="))]
    finally:
        process.end()
    assert process.has_ended
    process.end()  # again does nothing


def test_a_server_that_ends_at_once_has_last_words(tmp_path: Path) -> None:
    settings = SETTINGS | {"behaviour": {"start": "fail"}}
    process = ServerProcess(FAKE, settings, tmp_path / "log")
    with pytest.raises(RolloutError, match=r"(?s)ended before it was ready.*it cannot find its weights"):
        asyncio.run(process.port(60.0))


def test_a_server_that_is_never_ready(tmp_path: Path) -> None:
    process = ServerProcess([sys.executable, "-c", "import time; time.sleep(600)"], SETTINGS, tmp_path / "log")
    with pytest.raises(RolloutError, match=r"was not ready within 0\.3 s"):
        asyncio.run(process.port(0.3))
    assert process.has_ended


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match=r"a server cannot be started .*No such file"):
        ServerProcess(["/no/such/program"], SETTINGS, tmp_path / "log")


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600']).pid, file=sys.stderr, flush=True); \
time.sleep(600)"
    )
    process = ServerProcess([sys.executable, "-c", program], SETTINGS, tmp_path / "log")
    while not process.last_words():
        time.sleep(0.05)
    child = int(process.last_words())
    assert not has_ended(child)
    process.end()
    time.sleep(0.2)
    assert has_ended(child)
    assert os.getpgid(0) != process.pid
