"""Real ranks of which one dies or stops: the others notice, say which one it was, and the run goes on from there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from helpers.programs import Program, metrics, run_program

from prorl_mega.errors import ExitCode
from prorl_mega.run.summary import read_summary

pytestmark = pytest.mark.faults
RUN = (
    "experiment=small",
    "schedule.steps=6",
    "schedule.save_every=1",
    "schedule.evaluate_every=0",
    "parallel.tensor=2",
)
HANG_S = 15


def rank_process(setup: Path, rank: int) -> int:
    """The process of a rank of the run that goes on in `setup`."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            environment = (path / "environ").read_bytes().split(b"\0")
            here = Path(os.readlink(path / "cwd"))
        except OSError:
            continue
        if b"prorl_mega.train" in words and f"RANK={rank}".encode() in environment and here == setup:
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda way: way.name)
def test_a_rank_that_dies_is_noticed_at_once(setup: Path, way: signal.Signals) -> None:
    run = setup / "runs" / way.name
    with Program("prorl_mega.train", setup, *RUN, f"name={run.name}", ranks=2) as program:
        program.wait_until(lambda: len(metrics(run)) >= 2)
        os.kill(rank_process(setup, 1), way)
        began = time.monotonic()
        other = rank_process(setup, 0)
        program.wait_until(lambda: not Path(f"/proc/{other}").exists())
        seconds = time.monotonic() - began
        assert program.finish().code != 0
    print(f"seen: the other rank ended {seconds:.2f} s after {way.name}")
    assert seconds <= 5.0
    goes_on(setup, run.name)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_ends_with_status_0_is_a_failure(setup: Path, rank: int) -> None:
    run = setup / "runs" / f"ends_{rank}"
    fault = f"faults=[{{site: update, action: exit, step: 3, rank: {rank}}}]"
    ended = run_program("prorl_mega.train", setup, *RUN, f"name={run.name}", fault, ranks=2)
    assert [path.name for path in (run / "faults").iterdir()] == ["00-update-1.json"]
    assert ended.code != 0
    assert len(metrics(run)) == 2
    assert read_summary(run).get("exit_code") != 0
    goes_on(setup, run.name)


def test_a_rank_that_stops_is_named(setup: Path) -> None:
    run = setup / "runs" / "stops"
    settings = (*RUN, "name=stops", f"cluster.hang_timeout_s={HANG_S}")
    with Program("prorl_mega.train", setup, *settings, ranks=2) as program:
        program.wait_until(lambda: len(metrics(run)) >= 2)
        stopped = rank_process(setup, 1)
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        other = rank_process(setup, 0)
        program.wait_until(lambda: not Path(f"/proc/{other}").exists())
        seconds = time.monotonic() - began
        finished = program.finish()
    print(f"seen: the other rank ended {seconds:.2f} s after one was stopped, with a bound of {HANG_S} s")
    assert seconds <= HANG_S + 1.0  # the poll of this test
    assert f"rank 1 (pid {stopped} on " in finished.output, finished.output
    assert "has given no sign of life" in finished.output
    assert read_summary(run)["exit_code"] == ExitCode.HANG
    assert "Thread" in (run / "hang" / "rank_00000.txt").read_text()
    goes_on(setup, "stops")


def goes_on(setup: Path, name: str) -> None:
    finished = run_program("prorl_mega.train", setup, *RUN, f"name={name}", ranks=2)
    assert finished.code == 0, finished.output
    assert [row["step"] for row in metrics(setup / "runs" / name)] == list(range(1, 7))
