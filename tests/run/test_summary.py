"""`run_summary.json` says how the last job ended and why, and the first rank that knows has the word."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import toy_run
from helpers.toy_run import Toy, toy_config, toy_train

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, ExitCode, NumericsError
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.run.summary import SUMMARY, read_summary, write_summary
from prorl_mega.types import Decision, Event


def summary(root: Path) -> dict[str, Any]:
    return read_summary(root / "toy")


def test_a_run_that_finishes(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 4), Ranks.alone())
    found = summary(tmp_path)
    assert (found["exit_code"], found["name"], found["cause"], found["step"]) == (0, "FINISHED", "finished", 4)


def test_a_run_that_is_stopped(tmp_path: Path) -> None:
    stop = Event(trigger="kl_bound", action="stop", numbers={}, text="KL of 2 is above 1")
    with TrainingRun(toy_config(tmp_path, 4), Ranks.alone()) as run:
        run.resume(Toy().restore)
        run.stop(Decision(stop=True, events=(stop,)))
    found = summary(tmp_path)
    assert (found["name"], found["cause"]) == ("STOPPED_BY_CONTROLLER", "KL of 2 is above 1")


@pytest.mark.parametrize(
    ("error", "code", "name", "cause"),
    [
        (NumericsError("loss is NaN\nin step 7"), ExitCode.NUMERICS, "NUMERICS", "loss is NaN in step 7"),
        (ZeroDivisionError("division by zero"), 1, "CRASHED", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_run_that_fails(error: Exception, code: int, name: str, cause: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), TrainingRun(toy_config(tmp_path, 4), Ranks.alone()) as run:  # noqa: PT012
        run.resume(Toy().restore)
        raise error
    found = summary(tmp_path)
    assert (found["exit_code"], found["name"], found["cause"]) == (code, name, cause)
    toy_train(toy_config(tmp_path, 4), Ranks.alone())
    assert summary(tmp_path)["exit_code"] == 0, "of the job before"


def test_a_run_that_cannot_be_opened(tmp_path: Path) -> None:
    toy_train(toy_config(tmp_path, 4), Ranks.alone())
    changed = toy_config(tmp_path, 4)
    changed.seed = 2
    with pytest.raises(ConfigError, match="seed"):
        TrainingRun(changed, Ranks.alone())
    assert summary(tmp_path)["exit_code"] == ExitCode.CONFIG


def test_a_directory_that_another_job_holds_keeps_its_own(tmp_path: Path) -> None:
    command = [sys.executable, toy_run.__file__, str(tmp_path), "5", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        while not (tmp_path / "toy" / "config.yaml").exists():
            assert other.poll() is None
            time.sleep(0.05)
        with pytest.raises(ConfigError):
            TrainingRun(toy_config(tmp_path, 5), Ranks.alone())
        assert summary(tmp_path) == {}
        other.kill()


def test_the_first_cause_counts(tmp_path: Path) -> None:
    write_summary(tmp_path, ExitCode.ROLLOUT, "no server is left", step=3, rank=1)
    write_summary(tmp_path, 1, "RuntimeError: rank 1 has failed", step=3, rank=0)
    found = read_summary(tmp_path)
    assert (found["cause"], found["rank"]) == ("no server is left", 1)
    assert [path.name for path in tmp_path.iterdir()] == [SUMMARY]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"exit_code": "0", "cause": "", "time": 1.0}', "\x00", "[" * 9999])
def test_what_is_no_summary(text: str, tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_text(text)
    assert read_summary(tmp_path) == {}
    json.dumps(read_summary(tmp_path / "nowhere"))
