"""A process that hangs ends in bounded time and says where, and the rank that others wait for is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.toy_run import Toy, toy_config

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.summary import read_summary
from prorl_mega.run.watchdog import FOLDER, culprits

HANGING = """
import ctypes, sys, time
from pathlib import Path
from helpers.toy_run import Toy, toy_config
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.run_directory import TrainingRun

def somewhere_in_the_update(how):
    if how == "sleep":
        time.sleep(60)
    if how == "interpreter":
        ctypes.PyDLL(None).sleep(60)  # without giving the interpreter to other threads
    ends = time.monotonic() + 6
    while time.monotonic() < ends:
        run.is_stopping()
        time.sleep(0.05)

config = toy_config(Path(sys.argv[1]), 5)
config.cluster.hang_timeout_s = 4.0
with TrainingRun(config, Ranks.alone()) as run:
    run.resume(Toy().restore)
    with run.step(1) as log, log.phase("update"):
        somewhere_in_the_update(sys.argv[2])
"""


def hang(directory: Path, how: str) -> tuple[int, str, float]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    began = time.monotonic()
    command = [sys.executable, "-c", HANGING, str(directory), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


def test_a_rank_without_a_pulse_ends(tmp_path: Path) -> None:
    code, said, seconds = hang(tmp_path, "sleep")
    assert code == ExitCode.HANG == 25, said
    found = re.search(r"no progress for (\d\.\d) s in 'step 1/5: update'", said)
    assert found is not None, said
    assert 2.4 <= float(found[1]) <= 4.0, "before the time-out, of which the stacks of the others take a part"
    stacks = (tmp_path / "toy" / FOLDER / "rank_00000.txt").read_text()
    assert "somewhere_in_the_update" in stacks
    assert seconds < 20
    summary = read_summary(tmp_path / "toy")
    assert (summary["name"], summary["exit_code"]) == ("HANG", 25)


def test_one_that_holds_the_interpreter_as_well(tmp_path: Path) -> None:
    code, said, _ = hang(tmp_path, "interpreter")
    assert code == 1, said
    stacks = (tmp_path / "toy" / FOLDER / "rank_00000.txt").read_text()
    assert "Timeout" in stacks
    assert "somewhere_in_the_update" in stacks


def test_a_long_phase_with_a_pulse_is_left_alone(tmp_path: Path) -> None:
    code, said, seconds = hang(tmp_path, "busy")
    assert code == 0, said
    assert seconds > 4
    assert not (tmp_path / "toy" / FOLDER).exists()


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 5)
    config.cluster.hang_timeout_s = 0
    with TrainingRun(config, Ranks.alone()) as run:
        run.resume(Toy().restore)
        assert not (tmp_path / "toy" / FOLDER).exists()


def beat_of(folder: Path, rank: int, phase: str, *, before_s: float = 0.0) -> None:
    words = {"rank": rank, "host": f"n{rank}", "pid": 100 + rank, "phase": phase, "idle_s": 1.0}
    path = folder / f"rank_{rank:05d}.json"
    path.write_text(json.dumps(words))
    at = 1_000_000.0 - before_s
    os.utime(path, (at, at))


def test_a_silent_rank_is_to_blame(tmp_path: Path) -> None:
    for rank in range(4):
        beat_of(tmp_path, rank, "step 3/9: update", before_s=50.0 if rank == 2 else 0.5)
    words = "rank 2 (pid 102 on n2) has given no sign of life for 50 s, its last phase is 'step 3/9: update'"
    assert culprits(tmp_path, 10.0) == words


def test_a_rank_in_another_phase_is_to_blame(tmp_path: Path) -> None:
    for rank in range(4):
        beat_of(tmp_path, rank, "step 3/9: rollout" if rank == 1 else "step 3/9: update")
    words = "rank 1 (pid 101 on n1) is in 'step 3/9: rollout', the others in 'step 3/9: update'"
    assert culprits(tmp_path, 10.0) == words


@pytest.mark.parametrize("text", ["", "[]", "\x00", "[" * 9999, '{"rank": "x"}'])
def test_a_damaged_heartbeat(text: str, tmp_path: Path) -> None:
    beat_of(tmp_path, 0, "step 3/9: update")
    (tmp_path / "rank_00001.json").write_text(text)
    assert culprits(tmp_path, 1e12)
