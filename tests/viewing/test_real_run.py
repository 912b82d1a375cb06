"""A real run in its own process is stopped, goes on, is killed, goes on and finishes, and the view sees all of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.live_view import key_of, known, served

from prorl_mega.viewing.server import ViewServer

TESTS = Path(__file__).parents[1]
STEPS, PATIENCE_S = 60, 60.0


def start(root: Path, pause: float = 0.05) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(TESTS / "helpers" / "toy_run.py"), str(root), str(STEPS), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def until(server: ViewServer, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The line of the only run, as soon as it is as it should be."""
    deadline, run = time.monotonic() + PATIENCE_S, {}
    while time.monotonic() < deadline:
        runs = known(server, "/api/runs")["runs"]
        if runs and holds(run := runs[0]):
            return run
        time.sleep(0.1)
    raise AssertionError(run)


def test_every_state_of_a_real_run(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert known(server, "/api/runs")["runs"] == []
        process = start(tmp_path)
        run = until(server, lambda run: run["state"] == "running" and run["step"] >= 5)
        assert f"process {process.pid}" in run["why"]
        assert (run["steps"], run["left"] > 0) == (STEPS, True)
        process.send_signal(signal.SIGTERM)
        process.wait()
        stopped = until(server, lambda run: run["state"] == "stopped")
        assert stopped["why"] == "SIGTERM was received"

        process = start(tmp_path)
        until(server, lambda run: run["state"] == "running" and run["step"] > stopped["step"])
        process.kill()
        process.wait()
        crashed = until(server, lambda run: run["state"] == "crashed")
        assert "its process has ended" in crashed["why"]

        process = start(tmp_path, pause=0.0)  # from its last checkpoint: the rows after it are cut
        assert process.wait() == 0
        finished = until(server, lambda run: run["state"] == "finished")
        assert (finished["step"], finished["left"]) == (STEPS, None)
        written = [json.loads(line) for line in (tmp_path / "toy" / "metrics.jsonl").read_text().splitlines()]
        charts = known(server, f"/api/run/{key_of(tmp_path / 'toy')}")["charts"]["charts"]
        reward = next(chart for chart in charts if chart["title"] == "Reward")
        assert reward["x"]["values"] == [row["step"] for row in written]
        shown = [float(f"{row['reward/mean']:.5g}") for row in written]
        assert reward["series"][0]["values"] == shown
