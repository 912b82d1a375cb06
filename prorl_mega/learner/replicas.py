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
from prorl_mega.families.param_mapping import is_of_expert
from prorl_mega.types import ParallelLayout

Gather = Callable[[Any], list[Any]]
"""The JSON values of all ranks, in rank order."""


def compare_replicas(parameters: Mapping[str, torch.Tensor], layout: ParallelLayout, gather: Gather) -> None:
    """Raise ReplicaError on all ranks when replicas hold other weights than others: it names ranks and a tensor."""
    if layout.data_size == 1 and layout.experts.data_size == 1:
        return
    shards = _shards(parameters, layout)
    digests = _by_place(gather([[place, _digest(each)] for place, each in shards]))
    if not any(len(set(replicas.values())) > 1 for replicas in digests.values()):
        return
    by_name = [[place, {name: _digest({name: each[name]}) for name in each}] for place, each in shards]
    faults = (_told(replicas) for replicas in _by_place(gather(by_name)).values())
    raise ReplicaError("; ".join(fault for fault in faults if fault))


def _shards(
    parameters: Mapping[str, torch.Tensor], layout: ParallelLayout
) -> list[tuple[list[int], dict[str, torch.Tensor]]]:
    """This rank's parameters in two parts, with the place of each in the model: experts are cut in their own way."""
    experts = {name: each for name, each in parameters.items() if is_of_expert(name)}
    others = {name: each for name, each in parameters.items() if name not in experts}
    cut = layout.experts
    return [
        ([0, layout.tensor_rank, layout.pipeline_rank, 0], others),
        ([1, cut.tensor_rank, layout.pipeline_rank, cut.rank], experts),
    ]


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    checksum = Checksum()
    for name, tensor in tensors.items():
        checksum.add(name, tensor)
    return checksum.hexdigest()


def _by_place(found: list[list[tuple[list[int], Any]]]) -> dict[tuple[int, ...], dict[int, Any]]:
    """The values of all ranks by place in the model, and among those by rank."""
    by_place: dict[tuple[int, ...], dict[int, Any]] = {}
    for rank, parts in enumerate(found):
        for place, value in parts:
            by_place.setdefault(tuple(place), {})[rank] = value
    return by_place


def _told(replicas: Mapping[int, dict[str, str]]) -> str:
    """The fault of the replicas of one shard, of which these are digests by name, in words; empty without one."""
    for name in replicas[min(replicas)]:
        votes = Counter(each[name] for each in replicas.values())
        if len(votes) == 1:
            continue
        (usual, count), *_ = votes.most_common(1)
        others = [rank for rank, each in replicas.items() if each[name] != usual]
        most = [rank for rank in replicas if rank not in others]
        if 2 * count > len(replicas):
            return f"rank {_listed(others)} holds other weights than rank {_listed(most)}: {name}"
        return f"ranks {_listed(sorted(replicas))} hold different weights, and no majority says who is right: {name}"
    return ""


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
