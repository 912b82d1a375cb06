"""Runs that go on, and a server that shows them."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from helpers.recorded_run import metrics_of, record_run

from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.lock import Holder
from prorl_mega.run.metrics import append_metrics
from prorl_mega.view import answers
from prorl_mega.viewing.assets import read_assets
from prorl_mega.viewing.overview import Overview
from prorl_mega.viewing.server import ViewServer

NOBODY = 2**22 + 1  # beyond the pids of a Linux


@contextmanager
def served(*roots: Path) -> Iterator[ViewServer]:
    """A server of these directories on a free port."""
    server = ViewServer(answers(Overview(roots), read_assets()), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(server: ViewServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; `headers` with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def known(server: ViewServer, path: str) -> Any:
    """The JSON of an answer."""
    status, _, body = asked(server, path)
    assert status == 200, body
    return json.loads(body)


def key_of(directory: Path) -> str:
    return hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]


def record_live_run(directory: Path, steps: int, *, of: int, pid: int | None = None) -> None:
    """A run of `of` steps that has done `steps`, held by this process, or by that of another pid."""
    record_run(directory, of)
    (directory / "evaluation" / "final.json").unlink()
    cut(directory, steps)
    holder = Holder.this_process()
    holder = holder if pid is None else dataclasses.replace(holder, pid=pid)
    (directory / "LOCK").write_bytes(msgspec.json.encode(holder))


def record_long_run(directory: Path, steps: int) -> None:
    """A finished run of many steps, without waiting for the disk after each."""
    record_run(directory, 2)
    dice = np.random.default_rng(0)
    rows = [{"step": step} | metrics_of(step, steps, dice) for step in range(1, steps + 1)]
    for row in rows:
        row["policy/kl"] = 0.001 * (row["step"] % 20)
    (directory / "metrics.jsonl").write_text(to_lines(rows))


def cut(directory: Path, steps: int) -> None:
    """Take the rows after a step away, as a run does that goes on from a checkpoint."""
    path = directory / "metrics.jsonl"
    rows = [line for line in path.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= steps]
    aside = path.with_suffix(".new")
    aside.write_text("".join(rows))
    aside.replace(path)


def go_on(directory: Path, step: int, reward: float) -> None:
    """The row of a step."""
    append_metrics(directory / "metrics.jsonl", step, {"reward/mean": reward, "seconds/step": 2.0})


def fingerprint(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, times and content of everything below; reading may only move the time of access, which mounts leave out."""
    found = {}
    for path in sorted([directory, *directory.rglob("*")]):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (about.st_mode, about.st_mtime_ns, about.st_ctime_ns, content)
    return found
