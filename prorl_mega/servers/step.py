"""A server as a step of Slurm, on nodes of the job that have no ranks of the learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prorl_mega.config.schema import ClusterConfig
from prorl_mega.config.servers import ServersConfig
from prorl_mega.errors import ConfigError
from prorl_mega.servers.process import COMMAND

COMPONENT = 1
"""Component of the heterogeneous job that has these nodes; the learner's ranks are in component 0."""


def step_commands(
    servers: ServersConfig, cluster: ClusterConfig, tensor: int, environ: Mapping[str, str]
) -> Callable[[str], Sequence[str]]:
    """The call of srun that starts a server of `tensor` GPUs, by its name. Raises ConfigError outside of such a job."""
    if f"SLURM_JOB_ID_HET_GROUP_{COMPONENT}" not in environ:
        raise ConfigError(
            f"cluster.server_nodes={cluster.server_nodes} needs a heterogeneous job of Slurm, as python -m "
            "prorl_mega.submit makes it; cluster.server_nodes=0 works here"
        )
    on_each = servers.replicas // cluster.server_nodes

    def command(name: str) -> Sequence[str]:
        number = int(name.removeprefix("server-").partition(".")[0])
        options = [
            f"--het-group={COMPONENT}",
            "--nodes=1",
            "--ntasks=1",
            "--exact",  # no more of a node than this server needs: others are beside it
            f"--relative={number // on_each}",
            f"--cpus-per-task={cluster.cpus_per_rank * tensor}",
            *([f"--gpus={tensor}"] if cluster.gpus_per_node else []),
            *(f"--{name}={value}" if value else f"--{name}" for name, value in servers.step_options.items()),
        ]
        return ["srun", *options, *COMMAND]

    return command
