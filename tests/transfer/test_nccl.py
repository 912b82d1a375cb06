"""NCCL's pair, with gloo in NCCL's place: who waits for whom, and the end of one that is late. Real: tests/gpu."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed as dist
from torch.distributed import ProcessGroupGloo

from prorl_mega.errors import WeightSyncError
from prorl_mega.transfer import nccl
from prorl_mega.transfer.nccl import NcclPair
from prorl_mega.transfer.pair import Pair, Rendezvous

HANDLING = "TORCH_NCCL_ASYNC_ERROR_HANDLING"


class GlooAsNccl:
    """What `NcclPair` uses of ProcessGroupNCCL. A transfer never ends while `is_stuck`."""

    is_stuck = False
    aborted: ClassVar[list[int]] = []
    handling: ClassVar[list[str | None]] = []

    class Options:
        _timeout = timedelta()

    def __init__(self, store: Any, rank: int, size: int, options: Options) -> None:
        GlooAsNccl.handling.append(os.environ.get(HANDLING))
        self.rank = rank
        gloo = ProcessGroupGloo._Options()
        gloo._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        gloo._timeout = options._timeout
        self.group: Any = ProcessGroupGloo(store, rank, size, gloo)

    def broadcast(self, memory: torch.Tensor, root: int) -> Any:
        return Stuck() if self.is_stuck else self.group.broadcast(memory, root)

    def abort(self) -> None:
        GlooAsNccl.aborted.append(self.rank)


class Stuck:
    def is_completed(self) -> bool:
        return False


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> tuple[Pair, Pair]:
    """A sender and a receiver."""
    monkeypatch.setattr(dist, "ProcessGroupNCCL", GlooAsNccl, raising=False)
    monkeypatch.setattr(nccl, "_gpu", lambda: torch.device("cpu"))
    monkeypatch.setattr(GlooAsNccl, "aborted", [])
    monkeypatch.setattr(GlooAsNccl, "handling", [])
    rendezvous = Rendezvous(NcclPair, "127.0.0.1", 5.0)
    greeting = rendezvous.greeting(1, "127.0.0.1")
    joined: list[Pair] = []
    joining = threading.Thread(target=lambda: joined.append(NcclPair.joined(greeting, rank=1)))
    joining.start()
    sender = rendezvous.meet(greeting)
    joining.join()
    return sender, joined[0]


def test_bytes_arrive(pairs: tuple[Pair, Pair]) -> None:
    sender, receiver = pairs
    sent = torch.arange(1 << 20, dtype=torch.int64).view(torch.uint8)
    received = torch.zeros_like(sent)
    receiving = threading.Thread(target=receiver.broadcast, args=(received,))
    receiving.start()
    sender.broadcast(sent)
    receiving.join()
    assert torch.equal(sent, received)
    assert GlooAsNccl.aborted == []


def test_a_transfer_that_does_not_end_is_given_up(pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    sender, _ = pairs
    monkeypatch.setattr(GlooAsNccl, "is_stuck", True)
    monkeypatch.setattr(sender, "_timeout_s", 0.05)
    with pytest.raises(WeightSyncError, match=r"nccl: rank 0: no end after 0\.05 s"):
        sender.broadcast(torch.zeros(8, dtype=torch.uint8))
    assert GlooAsNccl.aborted == [0]


def test_no_group_ends_the_process_by_itself(pairs: tuple[Pair, Pair]) -> None:
    assert GlooAsNccl.handling == ["0", "0"]


def test_the_variable_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "3"):
        if before is None:
            monkeypatch.delenv(HANDLING, raising=False)
        else:
            monkeypatch.setenv(HANDLING, before)
        with nccl._errors_left_to_the_caller():
            assert os.environ[HANDLING] == "0"
        assert os.environ.get(HANDLING) == before


def test_a_receiver_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL itself would wait for it without end."""
    monkeypatch.setattr(dist, "ProcessGroupNCCL", NeverMet, raising=False)
    monkeypatch.setattr(nccl, "_gpu", lambda: torch.device("cpu"))
    rendezvous = Rendezvous(NcclPair, "127.0.0.1", 0.2)
    with pytest.raises(WeightSyncError, match="nccl: rank 0 of 2 did not meet the others"):
        rendezvous.meet(rendezvous.greeting(1, "127.0.0.1"))


class NeverMet:
    Options = GlooAsNccl.Options

    def __init__(self, *_: Any) -> None:
        """Like NCCL's, it meets nobody before the first transfer."""
