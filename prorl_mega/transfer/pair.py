"""A process group of a sender and the workers of one engine, beside whatever groups either side has.

A group per engine: one that dies breaks no other's, and engines come and go without a new group for all.
"""

from __future__ import annotations

import secrets
import socket
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore

from prorl_mega.errors import WeightSyncError


class Pair(ABC):
    """A group in which rank 0 sends and the others, the workers of an engine, receive.

    Its rendezvous has a random name that travels with the job's token; what it carries is neither encrypted nor signed,
    so beyond one machine it belongs on a network of the cluster's own.
    """

    kind: str
    device: torch.device
    """The device of the memory that it carries."""

    def __init__(self, store: Any, *, host: str, rank: int, size: int, timeout_s: float) -> None:
        """Meets the others. Raises WeightSyncError if they do not come in time."""
        self._store, self._rank, self._timeout_s = store, rank, timeout_s
        try:
            self._group: Any = self._meet(store, host, rank, size)
        except RuntimeError as error:
            raise WeightSyncError(
                f"{self.kind}: rank {rank} of {size} did not meet the others: {_short(error)}"
            ) from None

    @classmethod
    def joined(cls, place: dict[str, Any], *, rank: int) -> Self:
        """The group of a greeting, as rank `rank`. Waits for the sender. Raises WeightSyncError."""
        try:
            host, port, name = str(place["host"]), int(place["port"]), str(place["name"])
            own = str(place["own"])
            size, timeout_s = int(place["size"]), float(place["timeout_s"])
        except (KeyError, TypeError, ValueError):
            raise WeightSyncError(
                f"{cls.kind}: the greeting has no host, port, name, own, size and timeout_s"
            ) from None
        try:
            store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=timeout_s))
        except RuntimeError as error:
            raise WeightSyncError(f"{cls.kind}: {host}:{port} cannot be reached: {_short(error)}") from None
        return cls(PrefixStore(name, store), host=own, rank=rank, size=size, timeout_s=timeout_s)

    def broadcast(self, memory: Tensor) -> None:
        """Send (rank 0) or receive `memory` `[bytes]` uint8 on `device`; it may be used again afterwards.

        Raises WeightSyncError after the group's time limit.
        """
        try:
            self._finish(self._group.broadcast(memory, 0))
        except RuntimeError as error:
            raise WeightSyncError(f"{self.kind}: rank {self._rank}: {_short(error)}") from None

    def close(self) -> None:
        self._group = None
        self._store = None

    @abstractmethod
    def _meet(self, store: Any, host: str, rank: int, size: int) -> Any:
        """The process group. Raises RuntimeError."""

    @abstractmethod
    def _finish(self, work: Any) -> None:
        """Wait for a transfer. Raises RuntimeError, also after the time limit."""


class GlooPair(Pair):
    """Sockets, and memory of the host. It listens on `host` alone."""

    kind = "gloo"
    device = torch.device("cpu")

    def _meet(self, store: Any, host: str, rank: int, size: int) -> Any:
        options = ProcessGroupGloo._Options()
        options._devices = [ProcessGroupGloo.create_device(hostname=host)]
        options._timeout = timedelta(seconds=self._timeout_s)
        return ProcessGroupGloo(store, rank, size, options)

    def _finish(self, work: Any) -> None:
        work.wait()


class Rendezvous:
    """A place where the workers of engines meet a sender in groups of one kind."""

    def __init__(self, pair: type[Pair], host: str, timeout_s: float) -> None:
        self.pair, self.host, self.timeout_s = pair, host, timeout_s
        listening = socket.create_server((host, 0))  # left to itself, the store would listen on every interface
        self._port = listening.getsockname()[1]
        self._store: Any = TCPStore(
            host,
            self._port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=timeout_s),
            master_listen_fd=listening.detach(),
        )

    def greeting(self, workers: int, address: str) -> dict[str, Any]:
        """The message for `workers` on a machine of this address, that shall join the sender in a new group."""
        return {
            "host": self.host,
            "port": self._port,
            "own": address,
            "name": secrets.token_urlsafe(32),
            "size": workers + 1,
            "timeout_s": self.timeout_s,
        }

    def meet(self, greeting: dict[str, Any]) -> Pair:
        """The sender's end of a greeting's group. Waits for the workers. Raises WeightSyncError."""
        store = PrefixStore(greeting["name"], self._store)
        return self.pair(store, host=self.host, rank=0, size=greeting["size"], timeout_s=self.timeout_s)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
