"""The store through which the ranks of a job find each other. Whoever reaches it can disturb the job: it asks for no
token, so it listens where the ranks are and nowhere else."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from prorl_mega.distributed.launch import LaunchEnvironment
from prorl_mega.errors import ConfigError

_AGENT = "TORCHELASTIC_USE_AGENT_STORE"  # set by torchrun, whose own store serves its ranks


def rendezvous(launch: LaunchEnvironment, timeout_s: int) -> dict[str, Any]:
    """Arguments of `init_process_group` by which this rank meets the others."""
    if launch.world_size == 1:
        return {"store": dist.HashStore()}
    if os.environ.get(_AGENT) == "True":
        return {"init_method": "env://"}
    listening = _listen(launch) if launch.rank == 0 else None
    store = dist.TCPStore(
        launch.master_address,
        launch.master_port,
        launch.world_size,
        is_master=launch.rank == 0,
        timeout=timedelta(seconds=timeout_s),
        master_listen_fd=None if listening is None else listening.detach(),
    )
    return {"store": store}


def _listen(launch: LaunchEnvironment) -> socket.socket | None:
    """A socket on the address that the ranks were given. None leaves the choice to torch, which listens on every
    interface: the name of a machine often stands for 127.0.1.1 on itself, where ranks of other nodes do not come.

    Raises ConfigError for an address that nobody knows, and for a port that is in use.
    """
    where = f"MASTER_ADDR={launch.master_address} MASTER_PORT={launch.master_port}"
    listening = None
    try:
        family, _, _, _, place = socket.getaddrinfo(
            launch.master_address, launch.master_port, type=socket.SOCK_STREAM
        )[0]  # fmt: skip
        if ipaddress.ip_address(place[0]).is_loopback and launch.local_world_size < launch.world_size:
            return None
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(max(16, launch.world_size))
    except OSError as error:
        if listening is not None:
            listening.close()
        if error.errno == errno.EADDRNOTAVAIL:  # one that is translated on its way here
            return None
        raise ConfigError(
            f"{where}: rank 0 cannot listen there: {error.strerror}; an address of its machine and a free port work"
        ) from None
    return listening
