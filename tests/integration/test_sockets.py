"""The sockets of a run while it goes on: where they listen, who may write to them, and what strangers achieve there.

A stranger on the machine sends what it likes to every socket that listens; the run must not notice.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.programs import Finished, Program, metrics

LAYOUTS = {
    "one process": (1, ()),
    "two ranks": (2, ("parallel.tensor=2",)),
    "servers": (1, ("placement=disaggregated", "servers.replicas=2")),
}
STEPS = 6
OWN_STORE = "torch.distributed.run"
"""torchrun's store for its ranks listens on every interface; with srun, and in a single process, there is none."""


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def messages(canary: Path) -> list[bytes]:
    """Bytes that a socket may get from anybody: noise, pickles, and HTTP that promises more than it has."""
    dice = random.Random(1)
    evil = pickle.dumps(Evil(canary))
    http = "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    return [
        b"",
        b"\x00",
        b"\xff" * 64,
        dice.randbytes(8),
        dice.randbytes(1 << 16),
        evil,
        len(evil).to_bytes(8, "little") + evil,
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f" + bytes(54) + evil,  # the greeting of ZeroMQ
        http.format(path="/update_weights", token="", length=10**11).encode() + evil,
        http.format(path="/pause", token="x" * 60_000, length=0).encode(),
        http.format(path="/collective_rpc", token="guess", length=len(evil)).encode() + evil,
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]


class Stranger:
    """Another user of the machine: finds what the processes of a program listen on, and sends `messages` there."""

    def __init__(self, program: Program, canary: Path) -> None:
        self._program, self._messages = program, messages(canary)
        self.listening: dict[tuple[str, int], str] = {}  # address -> command line of its process
        self.files: dict[str, int] = {}  # path of a Unix socket -> its mode
        self.sent = 0
        self._held: list[socket.socket] = []  # that say nothing
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
            for each in self._held:
                each.close()

    def _work(self) -> None:
        while not self._over.wait(0.1):
            for address in self._look():
                for content in self._messages:
                    self._send(address, content)

    def _look(self) -> list[tuple[str, int]]:
        """Addresses that are new."""
        new = []
        for process in self._program.processes():
            try:
                command = " ".join(process.cmdline())
                for each in process.net_connections("all"):
                    if each.family == socket.AF_UNIX and str(each.laddr).startswith("/"):
                        self.files.setdefault(str(each.laddr), stat.S_IMODE(os.stat(str(each.laddr)).st_mode))
                    elif each.status == psutil.CONN_LISTEN and tuple(each.laddr) not in self.listening:
                        self.listening[tuple(each.laddr)] = command
                        new.append(tuple(each.laddr))
            except (psutil.Error, OSError):
                continue
        return new

    def _send(self, address: tuple[str, int], content: bytes) -> None:
        host = "127.0.0.1" if address[0] in ("::", "0.0.0.0") else address[0]
        try:
            connection = socket.create_connection((host, address[1]), timeout=1)
            self._held.append(connection)
            connection.sendall(content)
            self.sent += 1
        except OSError:
            return


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=pytest.mark.slow) if name == "servers" else name for name in LAYOUTS]
)
def test_strangers_reach_little_and_achieve_nothing(
    setup: Path, uninterrupted: tuple[Finished, Path], run_arguments: tuple[str, ...], layout: str, tmp_path: Path
) -> None:
    ranks, more = LAYOUTS[layout]
    name, canary = layout.replace(" ", "_"), tmp_path / "canary"
    before = os.umask(0)
    try:
        steps = f"schedule.steps={STEPS}"
        with Program("prorl_mega.train", setup, *run_arguments, steps, f"name={name}", *more, ranks=ranks) as program:
            stranger = Stranger(program, canary)
            with stranger.at_work():
                done = program.finish()
    finally:
        os.umask(before)
    assert done.code == 0, done.output
    open_to_all = {
        address: command
        for address, command in stranger.listening.items()
        if address[0] != "127.0.0.1" and OWN_STORE not in command
    }
    print(f"\n{layout}: {len(stranger.listening)} sockets listen, {len(stranger.files)} Unix sockets; "
          f"{stranger.sent} messages sent")  # fmt: skip
    assert open_to_all == {}
    assert stranger.sent >= len(messages(canary)) * (1 if layout == "one process" else 2)
    assert {path: oct(mode) for path, mode in stranger.files.items() if mode & 0o077} == {}
    assert (layout == "servers") == bool(stranger.files)
    assert not canary.exists()
    expected = [row["reward/mean"] for row in metrics(uninterrupted[1])[: STEPS - 1]]
    assert [row["reward/mean"] for row in metrics(setup / "runs" / name)[: STEPS - 1]] == expected
    shutil.rmtree(setup / "runs" / name)
