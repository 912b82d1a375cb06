"""A run directory belongs to one process; the next one is told to whom, or takes over from the dead."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from prorl_mega.errors import ConfigError
from prorl_mega.run.lock import Holder, RunLock

HOLD = "import sys, pathlib; from prorl_mega.run.lock import RunLock; RunLock(pathlib.Path(sys.argv[1])).acquire(); "


def hold(path: Path, then: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD + then, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_living_holder_is_named_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    with hold(path, "print('held', flush=True); input()") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with pytest.raises(ConfigError, match=rf"in use by process {process.pid} on .*delete .*LOCK"):
            RunLock(path).acquire()
        process.kill()
        process.wait()
    RunLock(path).acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_of_several_that_come_at_once_one_gets_it(tmp_path: Path) -> None:
    path, dead = tmp_path / "LOCK", Holder.this_process()
    path.write_text(json.dumps({"host": dead.host, "pid": dead.pid, "started": 1, "job": ""}))  # to be taken over
    waiting = "import sys; print('ready', flush=True); input(); " + HOLD + "print('held', flush=True); input()"
    command = [sys.executable, "-c", waiting, str(path)]
    started = [subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) for _ in range(8)]
    try:
        assert [process.stdout.readline() for process in started if process.stdout] == ["ready\n"] * 8
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in started if process.stdout]
        assert sorted(said) == [""] * 7 + ["held\n"]
        holder = started[said.index("held\n")].pid
        for process in started:
            if process.pid != holder:
                assert f"in use by process {holder}" in process.communicate(timeout=60)[1]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_release_frees_it_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    lock = RunLock(path)
    lock.acquire()
    lock.acquire()  # again by the same process: still ours
    lock.release()
    with hold(path, "print('held', flush=True)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"


@pytest.mark.parametrize(
    ("fields", "free"),
    [
        ({"started": 1}, True),  # the number of the process was given to a later one
        ({"host": "elsewhere", "job": ""}, False),
        ({"host": "elsewhere", "job": "17"}, False),
        ({"host": "elsewhere", "job": "42"}, True),  # the same job, requeued on another node
        ({"host": "elsewhere", "job": "42", "attempt": "1"}, False),  # another step of this attempt
    ],
)
def test_whether_a_holder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict, free: bool) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    path = tmp_path / "LOCK"
    me = Holder.this_process()
    content = {"host": me.host, "pid": os.getppid(), "started": me.started, "job": ""} | fields
    path.write_text(json.dumps(content))
    if free:
        RunLock(path).acquire()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(ConfigError, match="elsewhere"):
            RunLock(path).acquire()


FOREVER = '{"host": "n3", "pid": 71, "started": 9, "job": "", "machine": "another", "beat_s": 1e9}'


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"host": 1}', "\0\0", "[" * 4000, '{"x": ' + "[" * 4000, FOREVER], ids=range(8)
)
def test_a_half_written_lock_is_free(tmp_path: Path, content: str) -> None:
    path = tmp_path / "LOCK"
    path.write_text(content)
    RunLock(path).acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()


def elsewhere(path: Path, **fields: object) -> None:
    """A lock that a process of another machine holds."""
    content = {"host": "n3", "pid": 71, "started": 9, "job": "", "machine": "another", "beat_s": 0.05} | fields
    path.write_text(json.dumps(content))


def test_a_holder_on_another_node_without_a_sign_of_life_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    elsewhere(path, job="17")
    os.utime(path, (time.time() + 5000, time.time() + 5000))  # its clock was ahead: no age is known
    said: list[str] = []
    lock = RunLock(path)
    decided = lock.acquire(said.append)
    assert re.fullmatch(
        r"the run was left by process 71 on n3 \(job 17\): no sign of life for \d+ s; it goes on here", decided
    )
    assert "is held by process 71 on n3 (job 17); waiting up to 1 s for a sign of life" in said[0]
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()
    assert [each.name for each in tmp_path.iterdir()] == ["LOCK"]


def test_a_holder_on_another_node_that_gives_signs_of_life_keeps_the_run(tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    elsewhere(path, beat_s=0.5)
    os.utime(path, (1, 1))  # its clock is years behind
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.1):
            os.utime(path, (1, time.time() - 10_000))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ConfigError, match="in use by process 71 on n3"):
            RunLock(path).acquire()
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("script", "free"),
    [
        ("echo RUNNING", False),
        ("echo SUSPENDED", False),
        ("echo NODE_FAIL", True),
        ("exit 0", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_slurm_decides_about_a_holder_without_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, free: bool
) -> None:
    """Of version 0.1, which gave none."""
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\n{script}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    path = tmp_path / "LOCK"
    elsewhere(path, job="17", beat_s=0.0)
    if free:
        assert "Slurm says that job 17 is" in RunLock(path).acquire()
    else:
        with pytest.raises(ConfigError, match="in use by process 71"):
            RunLock(path).acquire()


def test_a_process_notices_that_it_was_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prorl_mega.run.lock.BEAT_S", 0.02)
    lock = RunLock(tmp_path / "LOCK")
    assert lock.acquire() == ""
    lock.check()
    elsewhere(tmp_path / "LOCK")
    deadline = time.monotonic() + 30
    while lock.taken_by is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ConfigError, match="was taken over by process 71 on n3"):
        lock.check()
    lock.release()
    assert json.loads((tmp_path / "LOCK").read_text())["pid"] == 71, "not ours any more"
