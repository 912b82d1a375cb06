"""The pair of GPUs: a bucket goes from the learner's GPU into those of an engine, and never through the host."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from prorl_mega.transfer.pair import Pair

_HANDLING = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
_TICK_S = 0.0005


class NcclPair(Pair):
    """NCCL between different GPUs, of one machine or several.

    NCCL's own sockets listen where NCCL_SOCKET_IFNAME says. An engine that dies must not take the learner with it, as
    PyTorch's watchdog would have it: this class watches the time itself, and a group that is late is given up.
    """

    kind = "nccl"

    def _meet(self, store: Any, host: str, rank: int, size: int) -> Any:
        from torch.distributed import ProcessGroupNCCL  # PyTorch's CPU builds have none

        self.device = _gpu()
        options = ProcessGroupNCCL.Options()
        options._timeout = timedelta(seconds=10 * self._timeout_s)
        with _errors_left_to_the_caller():
            self._group = ProcessGroupNCCL(store, rank, size, options)
        store.set(f"ready-{rank}", "")  # NCCL waits without end for ranks that never come; a store does not
        store.wait([f"ready-{each}" for each in range(size)], timedelta(seconds=self._timeout_s))
        self._finish(self._group.broadcast(torch.zeros(1, dtype=torch.uint8, device=self.device), 0))
        return self._group

    def _finish(self, work: Any) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not work.is_completed():
            if time.monotonic() > deadline:
                self._group.abort()
                raise RuntimeError(f"no end after {self._timeout_s:g} s")
            time.sleep(_TICK_S)
        work.wait()


def _gpu() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@contextlib.contextmanager
def _errors_left_to_the_caller() -> Iterator[None]:
    """A group that is made in it ends no process; PyTorch reads the variable when it makes one."""
    before = os.environ.get(_HANDLING)
    os.environ[_HANDLING] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HANDLING]
        else:
            os.environ[_HANDLING] = before
