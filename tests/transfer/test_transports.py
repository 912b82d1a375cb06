"""Every transport carries every tensor, bit for bit, in buckets of bounded memory, and refuses what was changed."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fleets import TRANSPORTS, some_weights
from helpers.receivers import LIMIT, Other, opened
from safetensors.torch import load_file
from torch import Tensor

from prorl_mega.config.servers import TransportName
from prorl_mega.errors import ConfigError, WeightSyncError
from prorl_mega.transfer.bucket import ALIGNMENT, BucketManifest, PushDigest, fingerprint, gather_buckets
from prorl_mega.transfer.receiver import open_receiver
from prorl_mega.transfer.transport import (
    GPU_TRANSPORTS,
    HOST_TRANSPORTS,
    SharedMemoryTransport,
    open_transport,
)


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_another_process_holds_the_same_bits_or_says_which_are_wrong(kind: TransportName, tmp_path: Path) -> None:
    """Twice, so that memory is used again while the receiver still holds the tensors of the first time."""
    other = Other(opened(kind, tmp_path))
    first, second = some_weights(1), {f"again.{name}": tensor for name, tensor in some_weights(2).items()}
    answers = other.send(first, 1)
    assert answers == ["taken"] * len(answers)
    assert len(answers) >= 4
    assert set(other.send(second, 2)) == {"taken"}
    spoiled = other.send({f"spoiled.{name}": tensor for name, tensor in some_weights(3).items()}, 3, spoil=True)
    assert [each for each in spoiled if each != "taken"] == [spoiled[1]]
    assert "bucket 1: spoiled.layers.5.weight did not arrive as it was sent" in spoiled[1]
    digests = {name: digest for name, digest in other.end().items() if not name.startswith("spoiled")}
    assert digests == {name: fingerprint(name, tensor) for name, tensor in (first | second).items()}


def test_files_are_a_checkpoint_and_only_two_versions_stay(tmp_path: Path) -> None:
    transport = opened("disk", tmp_path)
    for version in (3, 4, 5):
        weights = some_weights(version)
        for bucket in gather_buckets(iter(weights.items()), transport.memory, limit=LIMIT):
            transport.place(bucket, version)
        transport.finish(version)
    folders = sorted(each.name for each in (tmp_path / "weights").iterdir())
    assert folders == ["version_000004", "version_000005"]
    index = json.loads((tmp_path / "weights" / folders[-1] / "model.safetensors.index.json").read_text())
    found: dict[str, Tensor] = {}
    for file in sorted(set(index["weight_map"].values())):
        found |= load_file(tmp_path / "weights" / folders[-1] / file)
    assert found.keys() == weights.keys() == index["weight_map"].keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_buckets_are_bounded_and_nothing_of_the_stream_is_kept() -> None:
    def stream() -> Iterator[tuple[str, Tensor]]:
        for index in range(40):
            tensor = torch.zeros(50_000)
            storage = weakref.ref(tensor)
            yield f"t{index}", tensor
            del tensor
            assert storage() is None, f"t{index} is alive when the next tensor is gathered"

    asked: list[int] = []

    def memory(nbytes: int) -> Tensor:
        asked.append(nbytes)
        return torch.empty(nbytes, dtype=torch.uint8)

    buckets = 0
    for bucket in gather_buckets(stream(), memory, limit=LIMIT):
        buckets += 1
        assert bucket.manifest.nbytes <= LIMIT
        assert all(entry.offset % ALIGNMENT == 0 for entry in bucket.manifest.entries)
    assert buckets == 8
    assert set(asked) == {LIMIT}


def test_shared_memory_is_used_again_and_has_no_name() -> None:
    transport = SharedMemoryTransport()
    before = set(os.listdir("/dev/shm"))
    memories = [transport.memory(LIMIT) for _ in range(6)]
    assert len({each.data_ptr() for each in memories}) == 2
    assert memories[0].data_ptr() == memories[2].data_ptr() != memories[1].data_ptr()
    assert set(os.listdir("/dev/shm")) - before == set()
    assert len(transport.memory(2 * LIMIT)) == 2 * LIMIT
    transport.close()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "has no memory"),
        ({"memory": "/etc/passwd"}, "no descriptor of another process"),
        ({"memory": "/proc/1/../self/fd/0"}, "no descriptor of another process"),
        ({"memory": "/proc/4194304/fd/3"}, "cannot be opened .* transport=disk or gloo"),
    ],
)
def test_places_that_are_no_memory(place: dict[str, str], message: str) -> None:
    manifest = BucketManifest.parsed(0, [["w", "float32", [4], 0, "0" * 32]])
    with pytest.raises(WeightSyncError, match=message):
        list(open_receiver("shared_memory", {}, rank=0).receive(place, manifest))


def test_memory_that_is_shorter_than_its_list_ends_no_process() -> None:
    transport = SharedMemoryTransport()
    (bucket,) = gather_buckets(iter([("w", torch.zeros(4))]), transport.memory, limit=64)
    place = transport.place(bucket, 1)
    manifest = BucketManifest.parsed(0, [["w", "float32", [1 << 20], 0, "0" * 32]])
    with pytest.raises(WeightSyncError, match="shorter than its 4194304 bytes"):
        list(open_receiver("shared_memory", {}, rank=0).receive(place, manifest))


def test_files_outside_of_the_directory_are_not_read(tmp_path: Path) -> None:
    manifest = BucketManifest.parsed(0, [["w", "float32", [4], 0, "0" * 32]])
    receiver = open_receiver("disk", {"directory": str(tmp_path / "weights")}, rank=0)
    with pytest.raises(WeightSyncError, match="lies outside of"):
        list(receiver.receive({"file": "../other.safetensors"}, manifest))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], "is empty"),
        ([["w"]], "an entry that is none"),
        ([["w", "float32", [-1], 0, ""]], "no usable shape"),
        ([["w", "float32", [True], 0, ""]], "no usable shape"),
        ([["w", "float32", "4", 0, ""]], "no usable shape"),
        ([["w", "float32", [4], 3, ""]], "no usable shape"),
        ([["w", "float32", [1 << 50], 0, ""]], "no usable shape"),
        ([["w", "object", [4], 0, ""]], "of dtype object"),
        ([[1, "float32", [4], 0, ""]], "cannot be received"),
    ],
)
def test_lists_that_describe_no_tensors(tensors: list[Any], message: str) -> None:
    with pytest.raises(WeightSyncError, match=message):
        BucketManifest.parsed(0, tensors)


def test_a_dtype_that_no_transport_knows() -> None:
    with pytest.raises(WeightSyncError, match="w is of dtype int64; float32, bfloat16, float16"):
        list(gather_buckets(iter([("w", torch.zeros(2, dtype=torch.int64))]), lambda n: torch.empty(n), limit=64))


def test_the_digest_depends_on_names_bits_and_order() -> None:
    def digest(pairs: list[tuple[str, Tensor]]) -> str:
        found = PushDigest()
        for bucket in gather_buckets(iter(pairs), lambda n: torch.empty(n, dtype=torch.uint8), limit=LIMIT):
            for entry in bucket.manifest.entries:
                found.add(entry)
        return found.hexdigest()

    a, b = torch.arange(4.0), torch.arange(4.0) + 1
    found = {digest(each) for each in ([("a", a), ("b", b)], [("b", b), ("a", a)], [("a", b), ("b", a)], [("a", a)])}
    assert len(found) == 4
    assert digest([("a", a.view(2, 2))]) != digest([("a", a)])


def test_a_sender_without_receivers_gives_up(tmp_path: Path) -> None:
    transport = open_transport("gloo", address="127.0.0.1", directory=None, timeout_s=1.0)
    transport.greeting("nobody", address="127.0.0.1", workers=1)
    with pytest.raises(WeightSyncError, match="gloo: rank 0 of 2 did not meet the others"):
        transport.meet("nobody")


def test_a_receiver_that_is_gone_is_noticed(tmp_path: Path) -> None:
    transport = open_transport("gloo", address="127.0.0.1", directory=None, timeout_s=2.0)
    greeting = transport.greeting("other", address="127.0.0.1", workers=1)
    receivers: list[Any] = []
    joining = threading.Thread(target=lambda: receivers.append(open_receiver("gloo", greeting, rank=0)))
    joining.start()
    transport.meet("other")
    joining.join()
    (bucket,) = gather_buckets(iter([("w", torch.zeros(1 << 20))]), transport.memory, limit=1 << 23)
    with pytest.raises(WeightSyncError, match="gloo: rank 0"):  # it is there, and does not receive
        transport.deliver(bucket, "other")


def test_settings_that_name_no_transport(tmp_path: Path) -> None:
    assert {*HOST_TRANSPORTS, *GPU_TRANSPORTS} == {str(each) for each in TransportName}
    with pytest.raises(ConfigError, match="transport=pigeon is not known; these work: shared_memory, disk, gloo"):
        open_transport("pigeon", address="127.0.0.1", directory=None, timeout_s=1.0)
    with pytest.raises(ConfigError, match="transport=disk needs a directory"):
        open_transport("disk", address="127.0.0.1", directory=None, timeout_s=1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has them")
@pytest.mark.parametrize("kind", GPU_TRANSPORTS)
def test_transports_of_gpus_without_one(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"transport={kind} needs a GPU, and PyTorch sees none; these work: shared"):
        open_transport(kind, address="127.0.0.1", directory=None, timeout_s=1.0)
