"""Ranks from the environment of every launcher."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prorl_mega.distributed.launch import read_launch
from prorl_mega.errors import ConfigError

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "node[3-5]",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
}
SCONTROL = """#!/bin/sh
if [ "$*" = 'show hostnames node[3-5]' ]; then printf 'node3\\nnode4\\nnode5\\n'
elif [ "$*" = 'show node node3' ]; then printf 'NodeName=node3 Arch=x86_64\\n NodeAddr=192.168.7.3 Port=1\\n'
else exit 1; fi
"""


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "scontrol"
    program.write_text(SCONTROL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_one_process() -> None:
    launch = read_launch({})
    assert (launch.rank, launch.world_size, launch.local_rank, launch.master_address) == (0, 1, 0, "127.0.0.1")
    assert 1024 < launch.master_port < 65536


def test_torchrun_is_handed_on_unchanged() -> None:
    assert read_launch(TORCHRUN).variables() == TORCHRUN


def test_torchrun_inside_a_slurm_job_wins() -> None:
    assert read_launch(TORCHRUN | SLURM).rank == 5


def test_slurm_step(scontrol: None) -> None:
    launch = read_launch(SLURM)
    assert (launch.rank, launch.world_size, launch.local_rank, launch.local_world_size) == (3, 5, 1, 2)
    assert launch.master_address == "192.168.7.3"


def test_a_batch_script_is_one_process() -> None:
    """Slurm sets SLURM_PROCID and SLURM_NTASKS in the batch script too, where nothing has been started yet."""
    assert read_launch({"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_JOB_ID": "1"}).world_size == 1


def test_ports_differ_between_attempts_and_are_equal_on_all_ranks(scontrol: None) -> None:
    ports = [read_launch(SLURM | {"SLURM_RESTART_COUNT": str(count)}).master_port for count in range(20)]
    assert len(set(ports)) == 20
    assert all(10_000 <= port < 30_000 for port in ports)
    assert read_launch(SLURM | {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"}).master_port == ports[0]
    assert read_launch(SLURM | {"SLURM_STEP_ID": "1"}).master_port != ports[0]


def test_slurm_address_can_be_given() -> None:
    launch = read_launch(SLURM | {"MASTER_ADDR": "head", "MASTER_PORT": "1234"})
    assert (launch.master_address, launch.master_port) == ("head", 1234)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (TORCHRUN | {"RANK": "8"}, "RANK=8 is not below WORLD_SIZE=8"),
        (TORCHRUN | {"RANK": "x"}, "RANK='x' is not a number"),
        ({"RANK": "0"}, "did not set WORLD_SIZE"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "two"}, "SLURM_STEP_TASKS_PER_NODE='two'"),
        (SLURM | {"SLURM_STEP_NODELIST": "elsewhere"}, "set MASTER_ADDR"),
    ],
)
def test_contradictions(environ: dict[str, str], message: str, scontrol: None) -> None:
    with pytest.raises(ConfigError, match=message):
        read_launch(environ)
