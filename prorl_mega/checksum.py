"""A digest of a stream of weights, to compare what was sent with what was received."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import torch
import torch.nn.functional as F
import xxhash
from torch import Tensor

PIECE = 1 << 24  # bytes of a tensor that are summed at a time


class Checksum:
    """Accumulates (name, dtype, shape, bytes) of tensors, in order.

    XXH3 with 128 bits: it detects accidents at the speed of memory; it is no defence against an attacker. Tensors are
    read where they are: of one on a GPU two sums are made there (`sums`), and they travel to the host with those of all
    others when the digest is asked for. So digests of the same tensors on the host and on a GPU are not equal, unless
    all are `on_host`: copied there, one at a time.
    """

    def __init__(self, *, on_host: bool = False) -> None:
        self._digest = xxhash.xxh3_128()
        self._on_host = on_host
        self._sums: list[Tensor] = []  # [2] int64 each, of tensors on a GPU, whose names are in the digest already

    def add(self, name: str, tensor: Tensor) -> None:
        dtype = str(tensor.dtype).removeprefix("torch.")
        header = f"{name}\0{dtype}\0{','.join(map(str, tensor.shape))}".encode()
        self._digest.update(struct.pack("<Q", len(header)) + header)
        if self._on_host or tensor.device.type == "cpu":
            self._digest.update(_bytes(tensor.cpu()).numpy())
        else:
            self._sums.append(sums(tensor))

    def observe(self, stream: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """`stream` unchanged; every pair is added to the digest."""
        for name, tensor in stream:
            self.add(name, tensor)
            yield name, tensor
            del tensor  # not to be kept alive while the next one is made

    @property
    def is_of_host(self) -> bool:
        """Whether no sum of another device is in it: it is what any machine has for these tensors."""
        return not self._sums

    def hexdigest(self) -> str:
        """The digest of everything so far, 32 characters."""
        digest = self._digest.copy()
        if self._sums:
            digest.update(torch.stack(self._sums).cpu().numpy())
        return digest.hexdigest()


def sums(tensor: Tensor) -> Tensor:
    """`[2]` int64 where the tensor is: the sum of its bytes as 64-bit words, and of word i times 2 i + 1, modulo 2^64.

    A changed word changes the first, words that have changed places the second. Needs 3 * PIECE bytes there.
    """
    content = _bytes(tensor)
    found = content.new_zeros(2, dtype=torch.int64)
    count = min(PIECE, len(content) + 7) // 8
    weights = content.new_full((count,), 2, dtype=torch.int64).cumsum(0).sub_(1)
    for first in range(0, len(content), PIECE):
        piece = content[first : first + PIECE]
        words = F.pad(piece, (0, -len(piece) % 8)).view(torch.int64)
        total = words.sum()
        found[0] += total
        found[1] += (words * weights[: len(words)]).sum() + first // 4 * total  # 2 i counts from the first piece
    return found


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)
