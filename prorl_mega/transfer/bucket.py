"""Buckets: consecutive tensors of a stream of weights in one piece of memory, and the list of what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
import xxhash
from torch import Tensor

from prorl_mega.checksum import Checksum
from prorl_mega.errors import WeightSyncError

ALIGNMENT = 64  # bytes between which a tensor may begin
DTYPES = {str(each).removeprefix("torch."): each for each in (torch.float32, torch.bfloat16, torch.float16)}


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """One tensor of a bucket: where its bytes begin, and their checksum together with name, dtype and shape."""

    name: str
    dtype: str  # a key of DTYPES
    shape: tuple[int, ...]
    offset: int  # bytes
    digest: str  # of `Checksum`, 32 characters

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype].itemsize

    def view(self, memory: Tensor) -> Tensor:
        """This tensor in `memory` `[bytes]` uint8, without a copy."""
        return memory[self.offset : self.offset + self.nbytes].view(DTYPES[self.dtype]).view(self.shape)


@dataclass(frozen=True, slots=True)
class BucketManifest:
    """The list of a bucket's tensors. `index` counts the buckets of a push from 0."""

    index: int
    entries: tuple[BucketEntry, ...]

    @property
    def nbytes(self) -> int:
        """Bytes from the beginning of the bucket to the end of its last tensor."""
        return max(entry.offset + entry.nbytes for entry in self.entries)

    def plain(self) -> list[list[Any]]:
        """The entries as JSON values."""
        return [[each.name, each.dtype, list(each.shape), each.offset, each.digest] for each in self.entries]

    @classmethod
    def parsed(cls, index: int, tensors: list[list[Any]]) -> BucketManifest:
        """The inverse of `plain`. Raises WeightSyncError for anything else."""
        entries = []
        for each in tensors:
            try:
                name, dtype, shape, offset, digest = each
            except (TypeError, ValueError):
                raise WeightSyncError(f"bucket {index}: an entry that is none: {str(each)[:80]}") from None
            sizes = [offset, *shape] if isinstance(shape, list) else [None]
            if not all(type(size) is int and 0 <= size < 1 << 48 for size in sizes) or offset % ALIGNMENT:
                raise WeightSyncError(f"bucket {index}: {str(name)[:200]} has no usable shape and offset")
            if dtype not in DTYPES or not isinstance(name, str) or not isinstance(digest, str):
                raise WeightSyncError(
                    f"bucket {index}: {str(name)[:200]} of dtype {str(dtype)[:20]} cannot be received"
                )
            entries.append(BucketEntry(name, dtype, tuple(shape), offset, digest))
        if not entries:
            raise WeightSyncError(f"bucket {index} is empty")
        return cls(index, tuple(entries))


@dataclass(slots=True)
class Bucket:
    """A manifest with the memory `[bytes]` uint8 that holds its tensors; longer than they are, or as long."""

    memory: Tensor
    manifest: BucketManifest


class PushDigest:
    """The checksum of a whole push from the checksums of its tensors, in order."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self.tensors = 0

    def add(self, entry: BucketEntry) -> None:
        self._digest.update(f"{entry.name}\0{entry.digest}\0".encode())
        self.tensors += 1

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def fingerprint(name: str, tensor: Tensor) -> str:
    """The checksum of a tensor together with its name, dtype and shape, 32 characters, read where the tensor is."""
    checksum = Checksum()
    checksum.add(name, tensor)
    return checksum.hexdigest()


@dataclass(slots=True)
class _Filling:
    """A bucket that is being filled."""

    memory: Tensor
    entries: list[BucketEntry] = field(default_factory=list)
    used: int = 0


def gather_buckets(
    stream: Iterator[tuple[str, Tensor]], memory: Callable[[int], Tensor], *, limit: int
) -> Iterator[Bucket]:
    """The stream's tensors, copied one after the other into buckets of at most `limit` bytes.

    `memory(n)` returns `[n or more]` uint8 for the next bucket and may wait for it. A tensor of more than `limit` gets
    a bucket of its own. The stream is consumed to its end, tensor by tensor, and nothing of it is kept. Raises
    WeightSyncError for a tensor of a dtype that no transport knows.
    """
    filling: _Filling | None = None
    index = 0
    for name, tensor in stream:
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise WeightSyncError(f"{name} is of dtype {dtype}; {', '.join(DTYPES)} can be pushed")
        nbytes = tensor.numel() * tensor.element_size()
        if filling is not None and filling.used + nbytes > limit:
            yield Bucket(filling.memory, BucketManifest(index, tuple(filling.entries)))
            index, filling = index + 1, None
        if filling is None:
            filling = _Filling(memory(max(limit, nbytes)))
        entry = BucketEntry(name, dtype, tuple(tensor.shape), filling.used, digest="")
        placed = entry.view(filling.memory)
        placed.copy_(tensor)
        filling.entries.append(replace(entry, digest=fingerprint(name, placed)))  # a GPU's tensor travels once
        filling.used += -(-nbytes // ALIGNMENT) * ALIGNMENT
        del tensor  # not to be kept alive while the next one is gathered
    if filling is not None:
        yield Bucket(filling.memory, BucketManifest(index, tuple(filling.entries)))
