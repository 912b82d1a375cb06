"""Weights that did not arrive as they were sent: every rank refuses them, whatever happened on whichever rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.thread_ranks import run_ranks
from torch import Tensor

from prorl_mega.checksum import Checksum
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode, WeightSyncError
from prorl_mega.weight_sync import WeightSync

Stream = Iterator[tuple[str, Tensor]]


def policy() -> Stream:
    """Tensors that are made anew each time: an engine may change what it gets."""
    yield from ((f"layers.{index}.weight", torch.full((3, 2), float(index))) for index in range(4))


def takes(stream: Stream) -> Stream:
    yield from stream


def loses(stream: Stream) -> Stream:
    yield from ((name, tensor) for name, tensor in stream if name != "layers.2.weight")


def flips(stream: Stream) -> Stream:
    for name, tensor in stream:
        kept = tensor.clone()
        if name == "layers.1.weight":
            kept.view(torch.int32)[2, 1] ^= 1
        yield name, kept


def exchanges(stream: Stream) -> Stream:
    pairs = list(stream)
    yield from ((name, tensor) for (name, _), (_, tensor) in zip(pairs, [pairs[1], pairs[0], *pairs[2:]], strict=True))


class Receiver:
    """An engine that says what it holds; `harm` is what happens on the way."""

    def __init__(self, harm: Callable[[Stream], Stream], *, is_idle: bool = False) -> None:
        self._harm, self._is_idle = harm, is_idle
        self._held = Checksum()

    def update_weights(self, stream: Stream, version: int) -> str:
        held = Checksum()
        for name, tensor in self._harm(stream):
            held.add(name, tensor)
        if not self._is_idle:
            self._held = held
        return self._held.hexdigest()


def synced(ranks: Ranks, receiver: Any) -> str:
    return WeightSync(stream=policy, rollout=receiver, ranks=ranks).update_weights(version=3)


def test_what_arrived_is_known_by_its_checksum() -> None:
    expected = Checksum()
    for name, tensor in policy():
        expected.add(name, tensor)
    assert run_ranks(2, lambda ranks: synced(ranks, Receiver(takes))) == [expected.hexdigest()] * 2


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize(
    ("harm", "is_idle"),
    [(loses, False), (flips, False), (exchanges, False), (takes, True)],
    ids=["lost", "flipped", "exchanged", "idle"],
)
def test_what_did_not_arrive_is_refused_by_every_rank(
    harm: Callable[[Stream], Stream], is_idle: bool, broken: int
) -> None:
    def work(ranks: Ranks) -> str:
        return synced(ranks, Receiver(harm, is_idle=is_idle) if ranks.rank == broken else Receiver(takes))

    for error in run_ranks(2, work):
        assert isinstance(error, WeightSyncError), error
        assert "weights of version 3 did not arrive as they were sent" in str(error)
        assert error.exit_code is ExitCode.ROLLOUT
