"""A run's state is told by its files alone, by whoever reads them, on whatever machine."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from prorl_mega.run.lock import SILENT_BEATS, Holder
from prorl_mega.viewing import run_state
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.run_state import RunState, State

SAVED = "saved after step 9 of 40 (3 s); start it again to go on"
ELSEWHERE = dataclasses.replace(Holder.this_process(), host="node7", machine="another boot", job="")
HOLD = (
    "import sys, time, pathlib; from prorl_mega.run.lock import RunLock; RunLock(pathlib.Path(sys.argv[1])).acquire(); "
)


def hold(directory: Path, holder: Holder) -> None:
    (directory / "LOCK").write_bytes(msgspec.json.encode(holder))


def say(directory: Path, *lines: str) -> None:
    (directory / "console.log").write_text("".join(f"2026-01-01 00:00:00 {line}\n" for line in lines))


def state(directory: Path) -> tuple[State, str]:
    return RunState(Place(directory.resolve())).look()


def test_a_process_of_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD + "print('held', flush=True); time.sleep(600)", str(tmp_path / "LOCK")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert state(tmp_path) == (State.running, f"process {process.pid} on {Holder.this_process().host}")
        finally:
            process.kill()
    found, why = state(tmp_path)
    assert found is State.crashed
    assert "its process has ended" in why


def test_a_process_elsewhere_is_alive_while_it_gives_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path, ELSEWHERE)
    silence = SILENT_BEATS * ELSEWHERE.beat_s
    clock = time.monotonic()
    monkeypatch.setattr(run_state.time, "monotonic", lambda: clock)
    run = RunState(Place(tmp_path.resolve()))
    assert run.look()[0] is State.running
    clock += silence - 5
    assert run.look()[0] is State.running
    clock += 10
    found, why = run.look()
    assert (found, "no sign of life for 2 min" in why) == (State.crashed, True)
    os.utime(tmp_path / "LOCK", (1, 1))  # another time, if not a later one: clocks of machines differ
    assert run.look()[0] is State.running


def test_slurm_is_asked_about_a_silent_job_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def fate(holder: Holder) -> str | None:
        answers.wait(60)
        return ""  # suspended

    monkeypatch.setattr(Holder, "fate", fate)
    hold(tmp_path, dataclasses.replace(ELSEWHERE, job="77"))
    hour = time.time() - 3600
    os.utime(tmp_path / "LOCK", (hour, hour))
    run = RunState(Place(tmp_path.resolve()))
    assert run.look()[0] is State.crashed, "as far as one knows"
    answers.set()
    deadline = time.monotonic() + 20
    while run.look()[0] is not State.running:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_old_lock_of_another_machine_is_not_believed(tmp_path: Path) -> None:
    hold(tmp_path, ELSEWHERE)
    hour = time.time() - 3600
    os.utime(tmp_path / "LOCK", (hour, hour))
    assert state(tmp_path)[0] is State.crashed


def test_a_held_run_is_running_also_when_it_was_finished_before(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "final.json").write_text("{}")
    assert state(tmp_path) == (State.finished, "")
    hold(tmp_path, Holder.this_process())
    assert state(tmp_path)[0] is State.running


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], (State.idle, "")),
        (["step 9/40", "stopping: SIGTERM was received", SAVED, "report: x"], (State.stopped, "SIGTERM was received")),
        (["stopping: kl=0.9 is beyond 0.5", SAVED], (State.stopped, "kl=0.9 is beyond 0.5")),
        (["stopping: SIGTERM was received", SAVED, "resuming … 2 s"], (State.crashed, "last line: resuming … 2 s")),
        (["finished 40 steps after 3 s; …"], (State.finished, "without an evaluation of the final policy")),
        (["step 9/40  reward 0.1"], (State.crashed, "last line: step 9/40  reward 0.1")),
    ],
    ids=["a copy", "a signal", "the controller", "a start that failed", "a loop of its own", "an error"],
)
@pytest.mark.parametrize("lock", [None, b"", b'{"host": "half'])
def test_nobody_holds_it(tmp_path: Path, lines: list[str], expected: tuple[State, str], lock: bytes | None) -> None:
    if lock is not None:
        (tmp_path / "LOCK").write_bytes(lock)
    if lines:
        say(tmp_path, *lines)
    assert state(tmp_path) == expected


def test_what_a_console_says_is_printable_and_short(tmp_path: Path) -> None:
    say(tmp_path, "\x1b[31m" + "x" * 100_000 + "\u202e")
    _, why = state(tmp_path)
    assert why.isprintable()
    assert len(why) < 400
