"""A run directory belongs to one process; the next one is told to whom, or takes over from the dead."""

import json
import os
import subprocess
import sys
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
    ],
)
def test_whether_a_holder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict, free: bool) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "\0\0"])
def test_a_half_written_lock_is_free(tmp_path: Path, content: str) -> None:
    (tmp_path / "LOCK").write_text(content)
    RunLock(tmp_path / "LOCK").acquire()
