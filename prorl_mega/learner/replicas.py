"""The weights of data-parallel replicas, which are the same to the bit as long as every rank computes right.

A rank with a broken GPU or a flipped bit trains on, and drags the others along through the sum of gradients. Comparing
a checksum before every update costs one read of the weights and one small exchange.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

from prorl_mega.checksum import Checksum
from prorl_mega.errors import ReplicaError
from prorl_mega.types import ParallelLayout

Gather = Callable[[Any], list[Any]]
"""The JSON values of all ranks, in rank order."""


def compare_replicas(parameters: Mapping[str, torch.Tensor], layout: ParallelLayout, gather: Gather) -> None:
    """Raise ReplicaError on all ranks when replicas hold other weights than others: it names ranks and a tensor."""
    if layout.data_size == 1:
        return
    digests = _by_shard(gather, layout, _digest(parameters))
    if not any(len(set(replicas.values())) > 1 for replicas in digests.values()):
        return
    names = list(parameters)
    each = _by_shard(gather, layout, [_digest({name: parameters[name]}) for name in names])
    lists = gather(names)
    raise ReplicaError("; ".join(_told(replicas, lists[min(replicas)]) for replicas in each.values()).strip("; "))


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    checksum = Checksum()
    for name, tensor in tensors.items():
        checksum.add(name, tensor)
    return checksum.hexdigest()


def _by_shard(gather: Gather, layout: ParallelLayout, value: Any) -> dict[tuple[int, int], dict[int, Any]]:
    """The values of all ranks by place in the model (tensor, pipeline), and among those by rank."""
    found: dict[tuple[int, int], dict[int, Any]] = {}
    for rank, (tensor, pipeline, each) in enumerate(gather([layout.tensor_rank, layout.pipeline_rank, value])):
        found.setdefault((tensor, pipeline), {})[rank] = each
    return found


def _told(replicas: Mapping[int, list[str]], names: list[str]) -> str:
    """The fault of the replicas of one shard in words; empty without one."""
    for index, name in enumerate(names):
        votes = Counter(each[index] for each in replicas.values())
        if len(votes) == 1:
            continue
        (usual, count), *_ = votes.most_common(1)
        others = [rank for rank, each in replicas.items() if each[index] != usual]
        most = [rank for rank in replicas if rank not in others]
        if 2 * count > len(replicas):
            return f"rank {_listed(others)} holds other weights than rank {_listed(most)}: {name}"
        return f"ranks {_listed(sorted(replicas))} hold different weights, and no majority says who is right: {name}"
    return ""


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
