"""The calls of srun for servers on nodes of their own. `tests/slurm/test_server_nodes.py` makes them."""

from __future__ import annotations

import pytest

from prorl_mega.config.schema import ClusterConfig
from prorl_mega.config.servers import ServersConfig
from prorl_mega.errors import ConfigError
from prorl_mega.servers.process import COMMAND
from prorl_mega.servers.step import step_commands

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_ID_HET_GROUP_1": "8"}


def test_servers_are_spread_over_their_nodes_and_return_to_them() -> None:
    cluster = ClusterConfig(server_nodes=2, gpus_per_node=8, cpus_per_rank=4)
    servers = ServersConfig(replicas=4, step_options={"mem": "0", "overlap": ""})
    command = step_commands(servers, cluster, 2, JOB)
    nodes = [next(each for each in command(f"server-{n}") if each.startswith("--relative")) for n in range(4)]
    assert nodes == ["--relative=0", "--relative=0", "--relative=1", "--relative=1"]
    assert command("server-3.2") == command("server-3")
    assert command("server-0")[0] == "srun"
    assert tuple(command("server-0")[-3:]) == COMMAND
    wanted = {
        "--het-group=1",
        "--nodes=1",
        "--ntasks=1",
        "--exact",
        "--cpus-per-task=8",
        "--gpus=2",
        "--mem=0",
        "--overlap",
    }
    assert wanted <= set(command("server-0"))


def test_outside_of_such_a_job() -> None:
    with pytest.raises(ConfigError, match=r"server_nodes=2 needs a heterogeneous job of Slurm, .*=0 works here"):
        step_commands(ServersConfig(replicas=2), ClusterConfig(server_nodes=2), 1, {"SLURM_JOB_ID": "7"})
