"""The place of this process in its job: one process, `torchrun`, or a Slurm step (`srun`, and submitit on top of it).

A run takes only its ranks from the environment.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from prorl_mega.errors import ConfigError

_FIRST_PORT, _PORTS = 10_000, 20_000  # below the range from which Linux gives out ephemeral ports (32768 and up)
_SCONTROL_TIMEOUT_S = 60


@dataclass(kw_only=True, slots=True, frozen=True)
class LaunchEnvironment:
    """Place of this process in the job, in the terms of `torch.distributed`'s environment."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    master_address: str
    master_port: int

    def variables(self) -> dict[str, str]:
        """The variables that `torch.distributed` with `init_method="env://"` and vLLM's external launcher read."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
        }


def read_launch(environ: Mapping[str, str]) -> LaunchEnvironment:
    """Read the launcher's variables. Raises `ConfigError` when they contradict each other."""
    if "RANK" in environ or "WORLD_SIZE" in environ:
        return _torchrun(environ)
    if "SLURM_STEP_NUM_TASKS" in environ and "SLURM_PROCID" in environ:
        return _slurm_step(environ)
    return LaunchEnvironment(
        rank=0,
        world_size=1,
        local_rank=0,
        local_world_size=1,
        master_address="127.0.0.1",
        master_port=_free_port(),
    )


def address_of_rank_0(environ: Mapping[str, str]) -> str:
    """The address by which other nodes reach the node of rank 0, in a Slurm step. Raises `ConfigError` elsewhere."""
    return _address_of_first_node(_text(environ, "SLURM_STEP_NODELIST"))


def _torchrun(environ: Mapping[str, str]) -> LaunchEnvironment:
    rank, world_size = _integer(environ, "RANK"), _integer(environ, "WORLD_SIZE")
    if not 0 <= rank < world_size:
        raise ConfigError(f"RANK={rank} is not below WORLD_SIZE={world_size}; start with torchrun or srun")
    local_size = _integer(environ, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environ else world_size
    return LaunchEnvironment(
        rank=rank,
        world_size=world_size,
        local_rank=_integer(environ, "LOCAL_RANK"),
        local_world_size=local_size,
        master_address=_text(environ, "MASTER_ADDR"),
        master_port=_integer(environ, "MASTER_PORT"),
    )


def _slurm_step(environ: Mapping[str, str]) -> LaunchEnvironment:
    world_size = _integer(environ, "SLURM_STEP_NUM_TASKS")
    counts = _tasks_per_node(_text(environ, "SLURM_STEP_TASKS_PER_NODE"))
    address = environ.get("MASTER_ADDR")
    if address is None:
        address = "127.0.0.1" if len(counts) == 1 else _address_of_first_node(_text(environ, "SLURM_STEP_NODELIST"))
    port = _integer(environ, "MASTER_PORT") if "MASTER_PORT" in environ else _port_of_attempt(environ)
    return LaunchEnvironment(
        rank=_integer(environ, "SLURM_PROCID"),
        world_size=world_size,
        local_rank=_integer(environ, "SLURM_LOCALID"),
        local_world_size=counts[_integer(environ, "SLURM_NODEID")],
        master_address=address,
        master_port=port,
    )


def _port_of_attempt(environ: Mapping[str, str]) -> int:
    """A port, equal on all ranks; other steps and a requeue, which keeps the job number, get another one."""
    restarts = int(environ.get("SLURM_RESTART_COUNT", "0"))
    steps = _integer(environ, "SLURM_STEP_ID")
    return _FIRST_PORT + (31 * _integer(environ, "SLURM_JOB_ID") + 997 * restarts + 7 * steps) % _PORTS


def _tasks_per_node(text: str) -> list[int]:
    """Slurm's short form: `2(x3),1` is [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ConfigError(f"SLURM_STEP_TASKS_PER_NODE={text!r} is not a list like 8(x4); start with srun")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _address_of_first_node(node_list: str) -> str:
    """The address by which Slurm itself reaches the node of rank 0; node names need not resolve."""
    first = _scontrol("hostnames", node_list).split()[0]
    match = re.search(r"\bNodeAddr=(\S+)", _scontrol("node", first))
    return match[1] if match else first


def _scontrol(what: str, argument: str) -> str:
    command = ["scontrol", "show", what, argument]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SCONTROL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{' '.join(command)} failed ({error}); set MASTER_ADDR to the address of rank 0") from None
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _text(environ: Mapping[str, str], name: str) -> str:
    if name not in environ:
        raise ConfigError(f"the launcher did not set {name}; start with torchrun or srun, or as one plain process")
    return environ[name]


def _integer(environ: Mapping[str, str], name: str) -> int:
    text = _text(environ, name)
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r} is not a number; start with torchrun or srun, or as one plain process")
    return int(text)
