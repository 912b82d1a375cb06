"""A digest of a stream of weights, to compare what was sent with what was received."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import torch
import xxhash
from torch import Tensor


class Checksum:
    """Accumulates (name, dtype, shape, bytes) of tensors, in order.

    XXH3 with 128 bits: it detects accidents at the speed of memory; it is no defence against an attacker. Tensors on
    a GPU are copied to the host one at a time; contiguous tensors on the host are read where they are.
    """

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()

    def add(self, name: str, tensor: Tensor) -> None:
        dtype = str(tensor.dtype).removeprefix("torch.")
        header = f"{name}\0{dtype}\0{','.join(map(str, tensor.shape))}".encode()
        self._digest.update(struct.pack("<Q", len(header)) + header)
        self._digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())

    def observe(self, stream: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """`stream` unchanged; every pair is added to the digest."""
        for name, tensor in stream:
            self.add(name, tensor)
            yield name, tensor
            del tensor  # not to be kept alive while the next one is made

    def hexdigest(self) -> str:
        """The digest of everything so far, 32 characters."""
        return self._digest.hexdigest()
