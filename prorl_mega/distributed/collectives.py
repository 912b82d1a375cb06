"""Bytes between the ranks of a job, over its own process group and the host's network; never pickled objects.

Torch is imported when there is something to exchange: programs check their command line before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prorl_mega.distributed.ranks import Ranks

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist


def all_gather_bytes(payload: bytes, group: dist.ProcessGroup | None = None) -> list[bytes]:
    """Every rank's `payload`, in rank order, on every rank of the job or of `group`. Lengths may differ or be 0."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return [payload]
    sizes = _sizes(payload, group)
    sent = _padded(payload, max(sizes))
    received = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(received, sent, group=group)
    return [each[:size].numpy().tobytes() for each, size in zip(received, sizes, strict=True)]


def gather_bytes(payload: bytes) -> list[bytes]:
    """Every rank's `payload`, in rank order, on rank 0; an empty list on the others."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [payload]
    sizes = _sizes(payload)
    sent = _padded(payload, max(sizes))
    if dist.get_rank() != 0:
        dist.gather(sent, dst=0)
        return []
    received = [torch.empty_like(sent) for _ in sizes]
    dist.gather(sent, received, dst=0)
    return [each[:size].numpy().tobytes() for each, size in zip(received, sizes, strict=True)]


def broadcast_bytes(payload: bytes) -> bytes:
    """Rank 0's `payload` on every rank; what the others pass is ignored."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return payload
    length = torch.tensor([len(payload)], dtype=torch.int64)
    dist.broadcast(length, src=0)
    data = torch.empty(int(length), dtype=torch.uint8)
    if payload and dist.get_rank() == 0:
        data = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    dist.broadcast(data, src=0)
    return data.numpy().tobytes()


def job_ranks() -> Ranks:
    """This process among the ranks of the job, for small messages."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return Ranks.alone()
    return Ranks(
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        gather_texts=lambda text: [each.decode() for each in all_gather_bytes(text.encode())],
        broadcast_text=lambda text: broadcast_bytes(text.encode()).decode(),
    )


def neighbour_ranks(size: int) -> Ranks:
    """This process among the `size` consecutive ranks that share an engine. Collective over the whole job."""
    import torch.distributed as dist

    if not dist.is_initialized() or size == 1:
        return Ranks.alone()
    mine, group = dist.get_rank() // size, None
    for first in range(0, dist.get_world_size(), size):  # every rank takes part in making every group
        made = dist.new_group(list(range(first, first + size)), backend="gloo")
        group = made if first == mine * size else group

    def gather(text: str) -> list[str]:
        return [each.decode() for each in all_gather_bytes(text.encode(), group)]

    return Ranks(
        rank=dist.get_rank(group), world_size=size, gather_texts=gather, broadcast_text=lambda text: gather(text)[0]
    )


def _sizes(payload: bytes, group: dist.ProcessGroup | None = None) -> list[int]:
    """The number of bytes of every rank's payload."""
    import torch
    import torch.distributed as dist

    size = torch.tensor([len(payload)], dtype=torch.int64)
    sizes = [torch.empty_like(size) for _ in range(dist.get_world_size(group))]
    dist.all_gather(sizes, size, group=group)
    return [int(each) for each in sizes]


def _padded(payload: bytes, size: int) -> torch.Tensor:
    import torch

    padded = torch.zeros(size, dtype=torch.uint8)
    if payload:
        padded[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    return padded
