"""A job stops for a signal, at its own limit, and before Slurm ends it, and says which it was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from helpers.toy_run import toy_config

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode
from prorl_mega.run.console import Console
from prorl_mega.run.stopping import END, Stopping


@pytest.mark.parametrize(
    ("left_s", "before_s", "expected"),
    [
        (1000, 180, ExitCode.FINISHED),
        (170, 180, ExitCode.SAVED_AT_TIME_LIMIT),
        (-5, 180, ExitCode.SAVED_AT_TIME_LIMIT),
        (100, 0, ExitCode.FINISHED),  # only on a signal
    ],
)
def test_the_end_of_a_slurm_job(
    left_s: int, before_s: int, expected: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(END, str(int(time.time()) + left_s))
    config = toy_config(tmp_path, 5)
    config.cluster.stop_before_end_s = before_s
    stopping = Stopping(config, Ranks.alone(), tmp_path, Console(None))
    code, why = stopping.vote()
    assert code is expected
    assert ("the end of the Slurm job is near" in why) is stopping.is_asked() is (code is not ExitCode.FINISHED)


@pytest.mark.parametrize("value", ["", "soon", "-1"])
def test_an_end_that_is_no_time_is_none(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(END, value)
    assert Stopping(toy_config(tmp_path, 5), Ranks.alone(), tmp_path, Console(None)).vote() == (ExitCode.FINISHED, "")
