"""What goes on while threads do something else: bulk copies of tiles, their barriers, matrix instructions.

A copy arrives as late as it may: when its barrier is waited for. A matrix instruction reads its factors at once and its
registers are out of bounds until it has been waited for, so an access that comes too early is a fault whatever the
hardware's timing would have made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from helpers.sm90.memory import MachineError, SharedMemory
from numpy.typing import NDArray


@dataclass(slots=True)
class Barrier:
    """An mbarrier: a phase is over when all arrivals and all announced bytes have come."""

    arrivals: int
    epoch: int  # when it was made: threads of other warps see it after the next barrier of the block
    warp: int
    missing: int = 0
    announced: int = 0
    phase: int = 0

    def __post_init__(self) -> None:
        self.missing = self.arrivals

    def settle(self) -> None:
        if self.missing == 0 and self.announced == 0:
            self.phase += 1
            self.missing = self.arrivals


@dataclass(slots=True)
class Copy:
    barrier: int
    places: NDArray[np.int64]
    values: NDArray[np.uint8]


@dataclass(slots=True)
class Product:
    """Matrix instructions on one set of accumulators: `[threads, registers]` fp32."""

    registers: tuple[int, ...]
    values: NDArray[np.float32]
    group: int | None = None  # the last one that it belongs to; None while that one is open


@dataclass(slots=True)
class Asynchronous:
    barriers: dict[int, Barrier] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    products: dict[tuple[int, ...], Product] = field(default_factory=dict)
    reads: list[tuple[int | None, NDArray[np.int64]]] = field(default_factory=list)  # group, bytes of factors
    groups: int = 0
    fence_step: int = -1

    def barrier(self, address: int, epoch: int, warp: int | None) -> Barrier:
        if address not in self.barriers:
            raise MachineError("an mbarrier is used that has not been initialised")
        barrier = self.barriers[address]
        if barrier.epoch == epoch and barrier.warp != warp:
            raise MachineError("an mbarrier is used by another warp than made it, with no barrier in between")
        return barrier

    def wait(self, address: int, parity: int, shared: SharedMemory) -> bool:
        """Whether the phase of this parity is over, once everything on its way to it has arrived."""
        barrier = self.barrier(address, shared.epoch, None)
        if barrier.phase % 2 == parity:
            for copy in [copy for copy in self.copies if copy.barrier == address]:
                shared.end_copy(copy.places, copy.values)
                barrier.announced -= copy.values.size
                self.copies.remove(copy)
            barrier.settle()
        if barrier.phase % 2 == parity:
            raise MachineError("an mbarrier is waited for whose arrivals or bytes never come")
        return True

    def commit(self) -> None:
        for product in self.products.values():
            product.group = self.groups if product.group is None else product.group
        self.reads = [(self.groups if group is None else group, places) for group, places in self.reads]
        self.groups += 1

    def finished(self, most_pending: int, shared: SharedMemory) -> list[Product]:
        """Products that are over when all groups but the last `most_pending` are."""
        over = range(self.groups - most_pending)
        for group, places in self.reads:
            if group in over:
                shared.release(places)
        self.reads = [(group, places) for group, places in self.reads if group not in over]
        done = [product for product in self.products.values() if product.group in over]
        for product in done:
            del self.products[product.registers]
        return done

    def check_finished(self) -> None:
        if self.copies:
            raise MachineError("the program ends while a bulk copy is on its way")
        if self.products:
            raise MachineError("the program ends while a matrix instruction is on its way")
