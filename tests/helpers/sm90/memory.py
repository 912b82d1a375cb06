"""Memory that knows its bounds and notices races: what tensors hold, and what the threads of a program share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

NOBODY, SEVERAL = -1, -2
SHARED_WORDS = 227 * 256  # of four bytes


class MachineError(Exception):
    """What a GPU would answer with a wrong result, an illegal access or a program that never ends."""


@dataclass(kw_only=True, slots=True)
class Region:
    """The storage of one tensor, and which program of a launch wrote and read each two bytes of it."""

    start: int
    data: NDArray[np.uint8]
    writer: NDArray[np.int32]
    reader: NDArray[np.int32]

    @classmethod
    def of_tensor(cls, tensor: torch.Tensor) -> Region:
        storage = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
        pairs = -(-len(storage) // 2)
        return cls(
            start=storage.data_ptr(),
            data=storage.numpy(),
            writer=np.full(pairs, NOBODY, np.int32),
            reader=np.full(pairs, NOBODY, np.int32),
        )


class GlobalMemory:
    """Loads and stores of lanes at addresses of tensors. Programs run in any order, so they must not share a byte."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        regions = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors if tensor.numel()}
        self._regions = [Region.of_tensor(tensor) for tensor in regions.values()]

    def load(self, addresses: NDArray[np.uint64], size: int, program: int) -> NDArray[np.uint8]:
        """Bytes `[lanes, size]`."""
        region, offsets = self._locate(addresses, size)
        if size > 1:
            pairs = (offsets[:, None] + np.arange(0, size, 2)) // 2
            others = region.writer[pairs]
            if ((others != NOBODY) & (others != program)).any():
                raise MachineError("a program reads what another one writes in the same launch")
            readers = region.reader[pairs]
            region.reader[pairs] = np.where((readers == NOBODY) | (readers == program), program, SEVERAL)
        return region.data[offsets[:, None] + np.arange(size)]

    def store(self, addresses: NDArray[np.uint64], values: NDArray[np.uint8], program: int) -> None:
        size = values.shape[1]
        region, offsets = self._locate(addresses, size)
        pairs = (offsets[:, None] + np.arange(0, size, 2)) // 2
        for what, others in (("writes", region.writer[pairs]), ("reads", region.reader[pairs])):
            if ((others != NOBODY) & (others != program)).any():
                raise MachineError(f"a program writes what another one {what} in the same launch")
        region.writer[pairs] = program
        places = offsets[:, None] + np.arange(size)
        region.data[places] = values
        if (region.data[places] != values).any():
            raise MachineError("two threads store different values at one address")

    def _locate(self, addresses: NDArray[np.uint64], size: int) -> tuple[Region, NDArray[np.int64]]:
        if (addresses % size).any():
            raise MachineError(f"an access of {size} bytes at an address that they do not divide")
        low, high = int(addresses.min()), int(addresses.max()) + size
        for region in self._regions:
            if region.start <= low and high <= region.start + len(region.data):
                return region, (addresses - np.uint64(region.start)).astype(np.int64)
        raise MachineError(f"an access of {size} bytes outside of the tensors, or in several of them at once")


@dataclass(slots=True)
class SharedMemory:
    """Of one program. Between two barriers no word may be written by one warp and touched by another.

    Warps run here in step, so a missing barrier would not change a result: accesses are compared by the number of
    barriers (`epoch`) at which they happened. Words that a bulk copy has yet to deliver hold NaN and may not be
    touched, nor overwritten while a matrix instruction may still read them. What threads store becomes visible to
    matrix instructions and bulk copies (the asynchronous proxy) only with a fence.
    """

    data: NDArray[np.uint8] = field(default_factory=lambda: np.full(4 * SHARED_WORDS, 0xFF, np.uint8))
    epoch: int = 0
    write_epoch: NDArray[np.int64] = field(default_factory=lambda: np.full(SHARED_WORDS, -1))
    writer: NDArray[np.int64] = field(default_factory=lambda: np.full(SHARED_WORDS, NOBODY))
    read_epoch: NDArray[np.int64] = field(default_factory=lambda: np.full(SHARED_WORDS, -1))
    reader: NDArray[np.int64] = field(default_factory=lambda: np.full(SHARED_WORDS, NOBODY))
    awaited: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(SHARED_WORDS, np.bool_))
    in_use: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SHARED_WORDS, np.int64))
    unfenced: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(SHARED_WORDS, np.bool_))
    written: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(SHARED_WORDS, np.bool_))

    def load(self, addresses: NDArray[np.int64], size: int, warps: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Bytes `[lanes, size]` that threads of `warps` read."""
        words = self._words(addresses, size)
        self._check_readable(words)
        who = np.broadcast_to(warps[:, None], words.shape)
        if ((self.write_epoch[words] == self.epoch) & (self.writer[words] != who)).any():
            raise MachineError("a warp reads shared memory that another one wrote, with no barrier in between")
        self._note_readers(words, who)
        return self.data[addresses[:, None] + np.arange(size)]

    def store(self, addresses: NDArray[np.int64], values: NDArray[np.uint8], warps: NDArray[np.int64]) -> None:
        words = self._words(addresses, values.shape[1])
        who = np.broadcast_to(warps[:, None], words.shape)
        self._check_writable(words, who)
        places = addresses[:, None] + np.arange(values.shape[1])
        self.data[places] = values
        if (self.data[places] != values).any():
            raise MachineError("two threads store different values in one word of shared memory")
        self.write_epoch[words], self.writer[words] = self.epoch, who
        self.unfenced[words], self.written[words] = True, True

    def fetch(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Bytes that a matrix instruction reads; `release` them when it has been waited for."""
        words = _words_of(places)
        self._check_readable(words)
        if self.unfenced[words].any():
            raise MachineError("a matrix instruction reads what threads stored, with no fence.proxy.async in between")
        if (self.write_epoch[words] == self.epoch).any():
            raise MachineError("a matrix instruction reads what threads stored, with no barrier in between")
        self.in_use[words] += 1
        return self.data[places]

    def release(self, places: NDArray[np.int64]) -> None:
        """The matrix instruction has read them; another warp than its own knows that after the next barrier."""
        words = _words_of(places)
        self.in_use[words] -= 1
        self.read_epoch[words], self.reader[words] = self.epoch, SEVERAL

    def begin_copy(self, places: NDArray[np.int64], warp: int) -> None:
        """A bulk copy into these bytes is on its way."""
        words = _words_of(places)
        self._check_writable(words, np.full(words.shape, warp))
        if self.unfenced[words].any():
            raise MachineError("a bulk copy overwrites what threads stored, with no fence.proxy.async in between")
        self.awaited[words], self.data[places] = True, 0xFF

    def end_copy(self, places: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        """It has arrived, and all threads have waited for it."""
        words = _words_of(places)
        self.data[places] = values
        self.awaited[words], self.written[words] = False, True

    def barrier(self) -> None:
        self.epoch += 1

    def fence(self) -> None:
        self.unfenced[:] = False

    def _words(self, addresses: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        if (addresses % size).any():
            raise MachineError(f"an access of {size} bytes to shared memory at an address that they do not divide")
        if addresses.min() < 0 or addresses.max() + size > len(self.data):
            raise MachineError("an access outside of shared memory")
        return (addresses[:, None] + np.arange(0, size, 4)) // 4

    def _check_readable(self, words: NDArray[np.int64]) -> None:
        if self.awaited[words].any():
            raise MachineError("shared memory is read before the bulk copy into it has been waited for")
        if not self.written[words].all():
            raise MachineError("shared memory is read that nothing has been written to")

    def _check_writable(self, words: NDArray[np.int64], who: NDArray[np.int64]) -> None:
        if self.awaited[words].any():
            raise MachineError("shared memory is written while a bulk copy into it is on its way")
        if self.in_use[words].any():
            raise MachineError("shared memory is written while a matrix instruction may still read it")
        for epochs, warps, what in ((self.write_epoch, self.writer, "wrote"), (self.read_epoch, self.reader, "reads")):
            if ((epochs[words] == self.epoch) & (warps[words] != who)).any():
                raise MachineError(f"a warp writes shared memory that another one {what}, with no barrier in between")

    def _note_readers(self, words: NDArray[np.int64], who: NDArray[np.int64]) -> None:
        """Readers of this epoch; lanes of several warps may read one word in one instruction."""
        fresh = self.read_epoch[words] != self.epoch
        self.reader[words[fresh]] = NOBODY
        self.read_epoch[words] = self.epoch
        known = self.reader[words]
        self.reader[words] = np.where((known == NOBODY) | (known == who), who, SEVERAL)
        self.reader[words[self.reader[words] != who]] = SEVERAL


def _words_of(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of bytes that come in groups of four."""
    return places.ravel()[::4] // 4
