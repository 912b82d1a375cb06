"""Streaming live shards from real ranks: every rank sees the checkpoint again, in buckets that keep to their size."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from helpers.distributed import run_ranks
from helpers.shards import CHECKPOINTS, described, empty_shards, layouts, read_checkpoint, write_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from prorl_mega.checksum import Checksum
from prorl_mega.families.family import ModelDescription
from prorl_mega.families.mapping_registry import MappingRegistry
from prorl_mega.families.phi3 import PHI3
from prorl_mega.types import ParallelLayout
from prorl_mega.weights.load import load_weights
from prorl_mega.weights.reshard import stream_weights

RANKS = 4
LAYOUTS = [(2, 2, 1), (2, 1, 2), (1, 2, 2), (4, 1, 1), (1, 1, 4)]
BUCKETS = [1, 6_000, 1 << 20]  # a tensor each, several, a whole stage

Stream = Callable[..., Iterator[tuple[str, torch.Tensor]]]


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that came into being since the start and are referred to, and collectives that ran."""

    def __init__(self, known: list[torch.Tensor], limit: int) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._tensors: dict[int, weakref.ref[torch.Tensor]] = {}
        self._limit = limit
        self.peak = 0
        self.collectives = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.collectives += func.namespace == "c10d"
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, list | tuple) else [result]:
            if isinstance(each, torch.Tensor):
                self._tensors[id(each)] = weakref.ref(each)
        # gloo's thread lets go of what it sent a moment after the collective has returned.
        deadline = time.monotonic() + 1
        while (live := self._live()) > self._limit and time.monotonic() < deadline:
            time.sleep(0.001)
        self.peak = max(self.peak, live)
        return result

    def _live(self) -> int:
        self._tensors = {key: ref for key, ref in self._tensors.items() if ref() is not None}
        storages = [tensor.untyped_storage() for ref in self._tensors.values() if (tensor := ref()) is not None]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        return sum(size for pointer, size in sizes.items() if pointer not in self._known)


def groups_of(tensor: int, pipeline: int, data: int) -> tuple[ParallelLayout, Any, Any]:
    """This rank's layout and its two groups. All ranks make all groups, in one order."""
    ranks = list(layouts(tensor, pipeline, data))
    own = ranks[dist.get_rank()]
    tensor_groups: dict[tuple[int, int], list[int]] = {(r.pipeline_rank, r.data_rank): [] for r in ranks}
    pipeline_groups: dict[tuple[int, int], list[int]] = {(r.tensor_rank, r.data_rank): [] for r in ranks}
    for r in ranks:
        tensor_groups[r.pipeline_rank, r.data_rank].append(r.rank)
        pipeline_groups[r.tensor_rank, r.data_rank].append(r.rank)
    made = [
        {key: dist.new_group(members) for key, members in each.items()} for each in (tensor_groups, pipeline_groups)
    ]
    return own, made[0][own.pipeline_rank, own.data_rank], made[1][own.tensor_rank, own.data_rank]


def check_rank(checkpoints: list[Path]) -> None:
    """In every layout and for every checkpoint. One job for all: starting ranks takes longer than what they do."""
    dist.init_process_group("gloo")
    for sizes in LAYOUTS:
        layout, tensor_group, pipeline_group = groups_of(*sizes)
        for checkpoint in checkpoints:
            model = described(checkpoint)
            shards = empty_shards(model, layout, torch.bfloat16)
            load_weights(checkpoint, shards, model, layout)

            groups = {"tensor_group": tensor_group, "pipeline_group": pipeline_group}
            stream = partial(stream_weights, shards, model, layout, **groups)
            check_equal(stream, model, layout, checkpoint)
            check_bounds(stream, model, layout, shards)


def check_equal(stream: Stream, model: ModelDescription, layout: ParallelLayout, checkpoint: Path) -> None:
    """Names, order, bits and checksum of what arrives, with padding gone."""
    expected = {name: tensor.to(torch.bfloat16) for name, tensor in read_checkpoint(checkpoint).items()}
    names = list(MappingRegistry(model).tensors)
    digest = Checksum()
    for name in names:
        digest.add(name, expected[name])
    for bucket_bytes in BUCKETS:
        received = Checksum()
        kept = dict(received.observe(stream(bucket_bytes=bucket_bytes)))  # kept: nothing may be overwritten later
        assert list(kept) == names
        for name, tensor in kept.items():
            assert tensor.dtype is torch.bfloat16
            assert torch.equal(tensor, expected[name]), f"{name} on {layout}, buckets of {bucket_bytes}"
        assert received.hexdigest() == digest.hexdigest()


def check_bounds(
    stream: Stream, model: ModelDescription, layout: ParallelLayout, shards: dict[str, torch.Tensor]
) -> None:
    """Never more than one bucket beside the shards, and two collectives for each."""
    registry = MappingRegistry(model)
    padded = -(-model.vocab_size // (4 * layout.tensor_size)) * 4 * layout.tensor_size
    largest = 2 * model.hidden_size * max(padded, model.ffn_size)
    if model.family is PHI3:
        largest = 2 * 2 * (2 * model.hidden_size * model.ffn_size)  # gate and up in one, as shards and joined
    if layout.tensor_size > model.kv_heads:
        largest = 2 * 2 * model.hidden_size * (model.heads + 2 * model.kv_heads) * model.head_dim  # likewise
    total = sum(torch.Size(shape).numel() for shape in registry.tensors.values()) * 2
    for bucket_bytes in BUCKETS:
        limit = max(bucket_bytes, largest) + 1024  # the plan's few integers
        with LiveBytes(list(shards.values()), limit) as live:
            iterator, count = stream(bucket_bytes=bucket_bytes), 0
            while (pair := next(iterator, None)) is not None:
                count += 1
                del pair
        assert count == len(registry.tensors)
        assert live.peak <= limit, f"{live.peak} bytes on {layout}, buckets of {bucket_bytes}"
        if bucket_bytes > 4 * total:
            exchanges = (layout.tensor_size > 1) + (layout.pipeline_size > 1)
            assert live.collectives == layout.pipeline_size * exchanges + (layout.pipeline_size > 1)
        if layout.tensor_size > 1 and bucket_bytes == 1:
            assert live.peak >= largest, "the tracker sees nothing"


def test_every_rank_receives_the_checkpoint_in_buckets(tmp_path: Path) -> None:
    checkpoints = [write_checkpoint(tmp_path / f"{family}-{tied}", family, tied=tied) for family, tied in CHECKPOINTS]
    run_ranks(check_rank, RANKS, checkpoints, timeout_s=300.0)
