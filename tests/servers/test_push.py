"""The protocol of a push: its order, its overlap, its deadlines, and errors that name rank, server, step and tensor."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fake_engine import sampled
from helpers.fleets import TRANSPORTS, WatchedFleet, fake_fleet, order, some_weights
from torch import Tensor

from prorl_mega.config.servers import PauseMode, TransportName
from prorl_mega.errors import ExitCode, StorageError, WeightSyncError

ORDER_OF_CALLS = [
    "/pause", "/start_weight_update", "/update_weights", "/finish_weight_update",
    "/prorl/verify", "/reset_prefix_cache", "/resume",
]  # fmt: skip
RECEIVES = {"server-0": {"receives": True}}


def calls_of_a_push(watched: WatchedFleet, name: str = "server-0") -> list[str]:
    """The routes that were called since the server was greeted, repetitions of one left out."""
    calls: list[str] = []
    for call in watched.behave(name)["calls"][1:]:
        if calls[-1:] != [call]:
            calls.append(call)
    return calls


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_pushes(tmp_path: Path, transport: TransportName) -> None:
    with fake_fleet(tmp_path, replicas=1, transport=transport, behaviour=RECEIVES) as watched:
        watched.fleet.wait_for(1)
        for version in (1, 2):
            weights = some_weights(version)
            report = watched.pusher.push(iter(weights.items()), version)
            assert (report.version, report.tensors, report.servers) == (version, len(weights), ("server-0",))
            assert report.buckets >= 3
            assert 0 < report.paused_s <= report.total_s
        assert calls_of_a_push(watched) == ORDER_OF_CALLS * 2
        assert watched.fleet.submit(order(1)).result(timeout=30)[0].versions.tolist() == [2] * 6


def test_one_bucket_is_gathered_while_another_travels(tmp_path: Path) -> None:
    behaviour = {"server-0": {"update_seconds": 3.0, "receives": True}}  # it reads when it has waited
    asked = []
    with fake_fleet(tmp_path, replicas=1, behaviour=behaviour) as watched:
        watched.fleet.wait_for(1)

        def stream() -> Iterator[tuple[str, Tensor]]:
            for index in range(4):  # each fills a bucket
                asked.append(time.monotonic())
                yield f"t{index}", torch.full((1 << 18,), float(index))

        report = watched.pusher.push(stream(), 1)
        assert report.buckets == 4
        assert report.failures == {}, "memory is not used again before it has been read"
        assert asked[1] - asked[0] < 3.0, "the first has not arrived when the second is gathered"
        assert asked[3] - asked[0] >= 3.0, "memory for the fourth is that of one that has arrived"
        assert report.nbytes == 4 << 20


@pytest.mark.parametrize("mode", list(PauseMode))
def test_samples_in_flight(tmp_path: Path, mode: PauseMode) -> None:
    """They go on under the new weights, and every token says which weights it is from."""
    with fake_fleet(tmp_path, replicas=1, pause=mode, behaviour={"server-0": {"seconds": 1.0}}) as watched:
        watched.fleet.wait_for(1)
        watched.pusher.push(iter(some_weights(1).items()), 1)
        future = watched.fleet.submit(order(3))
        watched.until(lambda: watched.behave("server-0")["asked"] == 4)
        watched.pusher.push(iter(some_weights(2).items()), 2)
        samples = future.result(timeout=30)
        assert [each.versions.tolist() for each in samples] == [[1, 1, 1, 2, 2, 2]] * 4
        assert samples[0].tokens.tolist() == sampled([7, 8, 3], 300, 1, 6)
        assert samples[0].completion().version == 1


def test_aborted_samples_are_sampled_again_without_blame(tmp_path: Path) -> None:
    abort = {"finish_reason": "abort", "token_ids": []}
    with fake_fleet(tmp_path, replicas=1, pause=PauseMode.abort, group_attempts=1) as watched:
        watched.fleet.wait_for(1)
        watched.pusher.push(iter(some_weights(1).items()), 1)
        watched.behave("server-0", generate=abort)
        future = watched.fleet.submit(order(3))
        watched.until(lambda: watched.behave("server-0")["asked"] >= 8)
        watched.behave("server-0", generate=None)
        assert future.result(timeout=30)[0].versions.tolist() == [1] * 6
        assert watched.fleet.counts["quarantined"] == watched.fleet.counts["repeated_groups"] == 0


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"/pause": "refuse"}, "pause: .*it does not want to"),
        ({"/start_weight_update": "hang"}, "start_weight_update: .*no answer within 3 s"),
        ({"/update_weights": "hang"}, r"update_weights \(bucket 0\): .*no answer within 3 s"),
        ({"/update_weights": "refuse"}, r"update_weights \(bucket 0\): .*HTTP 500: it does not want to"),
        ({"/finish_weight_update": "refuse"}, "finish_weight_update: "),
        ({"/prorl/verify": "refuse"}, "prorl/verify: "),
        ({"loses": 0}, "prorl/verify: .*workers hold something else"),
        ({"loses": 2}, "prorl/verify: .*workers hold something else"),
        ({"reset": False}, "reset_prefix_cache: the cache was not cleared"),
        ({"/resume": "hang"}, "resume: .*no answer within 3 s"),
    ],
)
def test_a_server_that_fails_in_a_step_is_replaced_and_named(
    tmp_path: Path, behaviour: dict[str, Any], words: str
) -> None:
    with fake_fleet(tmp_path, step_deadline_s=3.0) as watched:
        watched.fleet.wait_for(2)
        watched.pusher.push(iter(some_weights(1).items()), 1)
        watched.behave("server-0", **behaviour)
        consumed = CountedStream(some_weights(2))
        report = watched.pusher.push(consumed, 2)
        assert report.servers == ("server-1",)
        assert consumed.left == 0
        (reason,) = report.failures.values()
        assert "push of version 2 from rank 0 to server-0: " in reason
        assert re.search(words, reason), reason
        futures = [watched.fleet.submit(order(group)) for group in range(3)]
        assert not wait(futures, timeout=30).not_done
        assert {each.server for future in futures for each in future.result()} == {"server-1"}
        watched.until(lambda: watched.state("server-0") == "waiting")
        assert watched.pusher.push(iter(some_weights(2).items()), 2, only_waiting=True).servers == ("server-0.1",)


class CountedStream:
    """An iterator over weights that knows how many have not been taken."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._items = iter(weights.items())
        self.left = len(weights)

    def __iter__(self) -> CountedStream:
        return self

    def __next__(self) -> tuple[str, Tensor]:
        item = next(self._items)
        self.left -= 1
        return item


def test_changed_bits_are_refused_by_name(tmp_path: Path) -> None:
    """The bytes are changed after their checksums were taken, as memory or a network may do it."""
    with fake_fleet(tmp_path, replicas=1, behaviour=RECEIVES) as watched:
        watched.fleet.wait_for(1)
        place = watched.fleet.transport.place

        def spoiled(bucket: Any, version: int) -> dict[str, Any]:
            if bucket.manifest.index == 1:
                bucket.memory[bucket.manifest.entries[1].offset] ^= 1
            return place(bucket, version)

        watched.fleet.transport.place = spoiled  # type: ignore[method-assign]
        consumed = CountedStream(some_weights(1))
        with pytest.raises(
            WeightSyncError,
            match=r"no server has taken the weights of version 1: push of version 1 from rank 0 to server-0: "
            r"update_weights \(bucket 1\): .*layers\.5\.weight did not arrive as it was sent",
        ) as error:
            watched.pusher.push(consumed, 1)
        assert consumed.left == 0, "other ranks of the learner wait in the stream"
        assert error.value.exit_code is ExitCode.ROLLOUT
        watched.until(lambda: watched.fleet.counts["replaced"] == 1)


def test_a_stream_that_breaks_off_leaves_no_server_with_half_of_it(tmp_path: Path) -> None:
    with fake_fleet(tmp_path) as watched:
        watched.fleet.wait_for(2)
        watched.pusher.push(iter(some_weights(1).items()), 1)

        def broken() -> Iterator[tuple[str, Tensor]]:
            yield from some_weights(2).items()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            watched.pusher.push(broken(), 2)
        watched.until(lambda: watched.fleet.counts["replaced"] == 2)
        assert any("the learner's stream broke off" in line for line in watched.lines)


def test_a_server_that_dies_during_a_push(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, behaviour={"server-0": {"update_seconds": 0.5}}) as watched:
        watched.fleet.wait_for(2)
        killing = threading.Timer(0.7, lambda: os.kill(watched.processes["server-0"].pid, signal.SIGKILL))
        killing.start()
        report = watched.pusher.push(iter(some_weights(1).items()), 1)
        assert report.servers == ("server-1",)
        assert "update_weights (bucket" in report.failures["server-0"]


def test_versions_only_rise_and_later_servers_get_the_current_one(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, replicas=1) as watched:
        report = watched.pusher.push(iter(some_weights(3).items()), 3)
        assert report.servers == (), "none has started yet"
        watched.fleet.wait_for(1)
        assert watched.fleet.is_starved
        with pytest.raises(AssertionError, match="version 3 after 3"):
            watched.pusher.push(iter(some_weights(3).items()), 3)
        with pytest.raises(AssertionError, match="others sample from version 3"):
            watched.pusher.push(iter(some_weights(4).items()), 4, only_waiting=True)
        assert watched.pusher.push(iter(some_weights(3).items()), 3, only_waiting=True).servers == ("server-0",)
        assert not watched.fleet.is_starved


def test_a_server_in_quarantine_misses_a_push_and_waits_for_the_next(tmp_path: Path) -> None:
    with fake_fleet(tmp_path) as watched:
        watched.fleet.wait_for(2)
        watched.pusher.push(iter(some_weights(1).items()), 1)
        os.kill(watched.processes["server-0"].pid, signal.SIGSTOP)
        watched.until(lambda: watched.state("server-0") == "quarantined")
        assert watched.pusher.push(iter(some_weights(2).items()), 2).servers == ("server-1",)
        os.kill(watched.processes["server-0"].pid, signal.SIGCONT)
        watched.until(lambda: watched.state("server-0") == "waiting")
        futures = [watched.fleet.submit(order(group)) for group in range(4)]
        assert not wait(futures, timeout=30).not_done
        assert {each.server for future in futures for each in future.result()} == {"server-1"}
        watched.pusher.push(iter(some_weights(3).items()), 3)
        watched.until(lambda: watched.state("server-0") == "ready")


def test_a_disk_that_is_full_leaves_no_rank_waiting(tmp_path: Path) -> None:
    with fake_fleet(tmp_path, replicas=1) as watched:
        watched.fleet.wait_for(1)

        def full(bucket: Any, version: int) -> dict[str, Any]:
            raise StorageError("no space is left")

        watched.fleet.transport.place = full  # type: ignore[method-assign]
        consumed = CountedStream(some_weights(1))
        with pytest.raises(StorageError, match="no space is left"):
            watched.pusher.push(consumed, 1)
        assert consumed.left == 0, "other ranks of the learner wait in the stream"
        watched.until(lambda: watched.fleet.counts["replaced"] == 1)


def test_a_server_that_is_stopped_during_a_push_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Long before the deadline of the step, because it does not answer that it is there."""
    with fake_fleet(tmp_path, step_deadline_s=600.0, behaviour={"server-0": {"update_seconds": 1.0}}) as watched:
        watched.fleet.wait_for(2)
        stopping = threading.Timer(0.7, lambda: os.kill(watched.processes["server-0"].pid, signal.SIGSTOP))
        stopping.start()
        report = watched.pusher.push(iter(some_weights(1).items()), 1)
        assert report.servers == ("server-1",)
        assert report.total_s < 30.0
        assert "/health: no answer within 2 s" in report.failures["server-0"]
        watched.until(lambda: watched.fleet.counts["replaced"] == 1)
