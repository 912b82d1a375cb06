"""Instructions of whole warps on shared memory: matrix products, loads of fragments, bulk copies, mbarriers.

Layouts are those of the PTX ISA, "Asynchronous warpgroup level matrix multiply-accumulate" and "ldmatrix".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from helpers.sm90.asynchronous import Barrier, Copy, Product
from helpers.sm90.machine import PENDING, WARP, Lanes, Machine, Operation
from helpers.sm90.memory import MachineError
from helpers.sm90.operands import address_of, names_in
from numpy.typing import NDArray

WARPGROUP = 4 * WARP
SWIZZLE_128 = 1
DEPTH = 16  # of one product


@dataclass(kw_only=True, slots=True, frozen=True)
class TensorMap:
    """What a bulk copy knows: a matrix and the size of a tile."""

    matrix: torch.Tensor  # [rows, columns] of two bytes
    rows: int
    columns: int


def product(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """accumulators += A · Bᵀ of a 64-row tile for each warpgroup; A and B `[rows, 16]` in shared memory."""
    shape = re.search(r"m64n(\d+)k16\.f32\.(bf16|f16)\.(?:bf16|f16)", opcode)
    assert shape, f"unknown matrix instruction {opcode}"
    columns, is_bf16 = int(shape[1]), shape[2] == "bf16"
    registers = tuple(machine.slot(name) for name in names_in(operands[0]))
    assert len(registers) == columns // 2
    assert operands[4:] == ("1", "1", "0", "0"), f"negated or transposed factors: {operands[4:]}"
    left, right, accumulates = (machine.slot(name) for name in operands[1:4])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        if mask is not None:
            raise MachineError("a matrix instruction of some threads only")
        state = machine.asynchronous
        running = state.products.get(registers)
        if running is None:
            if max(machine.stamps[slot] for slot in registers) > state.fence_step:
                raise MachineError("accumulators were written after the last wgmma.fence")
            values = np.stack([machine.read(slot).view(np.float32) for slot in registers], 1)
            running = state.products[registers] = Product(registers, values)
        if not machine.read(accumulates).all():
            running.values = np.zeros_like(running.values)
        running.group = None
        for first in range(0, machine.threads, WARPGROUP):
            group = slice(first, first + WARPGROUP)
            factors = []
            for descriptor, rows in ((left, 64), (right, columns)):
                places = _factor_places(_same(machine.read(descriptor)[group]), rows)
                factors.append(_numbers(machine.shared.fetch(places), is_bf16))
                state.reads.append((None, places))
            tile = factors[0].astype(np.float64) @ factors[1].astype(np.float64).T
            running.values[group] = _towards_zero(running.values[group] + _fragments(tile))
        for slot in registers:
            machine.registers[slot] = PENDING

    return execute


def _towards_zero(value: NDArray[np.float64]) -> NDArray[np.float32]:
    """Tensor cores cut sums off instead of rounding them (Fasi et al., "Numerical behavior of NVIDIA tensor cores")."""
    nearest = value.astype(np.float32)
    return np.where(np.abs(nearest) > np.abs(value), np.nextafter(nearest, np.float32(0)), nearest)


def _factor_places(descriptor: int, rows: int) -> NDArray[np.int64]:
    """Bytes `[rows, 32]` of a K-major tile in the 128-byte swizzle: groups of eight rows a stride apart."""
    start, stride = (descriptor & 0x3FFF) << 4, ((descriptor >> 32) & 0x3FFF) << 4
    if descriptor >> 62 != SWIZZLE_128 or (descriptor >> 49) & 7:
        raise MachineError(f"a factor in another layout than the 128-byte swizzle: descriptor {descriptor:#x}")
    row = np.arange(rows)[:, None]
    return swizzled(start + row // 8 * stride + row % 8 * 128 + np.arange(2 * DEPTH))


def swizzled(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The 16-byte column of a 128-byte row is exchanged by the number of the row."""
    return places ^ ((places >> 7 & 7) << 4)


def _fragments(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[64, columns]` as the registers of a warpgroup hold it, `[128, columns / 2]`."""
    thread, register = np.arange(WARPGROUP)[:, None], np.arange(tile.shape[1] // 2)
    row = thread // WARP * 16 + thread % WARP // 4 + register // 2 % 2 * 8
    return tile[row, register // 4 * 8 + thread % 4 * 2 + register % 2]


def _numbers(data: NDArray[np.uint8], is_bf16: bool) -> NDArray[np.float32]:
    """Of 16 bits, `[rows, 16]`, in fp32."""
    bits = np.ascontiguousarray(data).view(np.uint16)
    return (bits.astype(np.uint32) << 16).view(np.float32) if is_bf16 else bits.view(np.float16).astype(np.float32)


def _same(values: Lanes) -> int:
    if (values != values[0]).any():
        raise MachineError("threads of a warpgroup disagree about an operand")
    return int(values[0])


def fence_products(machine: Machine, mask: Lanes | None) -> None:
    machine.asynchronous.fence_step = machine.step


def commit_products(machine: Machine, mask: Lanes | None) -> None:
    machine.asynchronous.commit()


def wait_for_products(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    most_pending = int(operands[0])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for finished in machine.asynchronous.finished(most_pending, machine.shared):
            for slot, values in zip(finished.registers, finished.values.T, strict=True):
                machine.registers[slot] = np.ascontiguousarray(values).view(np.uint32)
                machine.stamps[slot] = 0

    return execute


def _matrix_rows(
    machine: Machine, address: Callable[[Machine], Lanes], mask: Lanes | None
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """For each of four matrices the addresses of its rows, eight per warp, and the warps that gave them."""
    if mask is not None:
        raise MachineError("fragments of some threads only")
    rows = address(machine).astype(np.int64).reshape(-1, 4, 8)
    return [rows[:, number].ravel() for number in range(4)], [np.repeat(machine.warps[::WARP], 8)] * 4


def load_fragments(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """ldmatrix: the k-th eight threads of a warp point at the rows of matrix k."""
    targets = [machine.slot(name) for name in names_in(operands[0])]
    address = address_of(machine, operands[1])
    lane = np.arange(WARP)

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for target, pointers, warps in zip(targets, *_matrix_rows(machine, address, mask), strict=False):
            data = machine.shared.load(pointers, 16, warps).reshape(-1, 8, 4, 4)
            own = np.ascontiguousarray(data[:, lane // 4, lane % 4]).view(np.uint32)
            machine.write(target, own.reshape(-1), None)

    return execute


def store_fragments(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """stmatrix: the way back."""
    sources = [machine.slot(name) for name in names_in(operands[1])]
    address = address_of(machine, operands[0])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for source, pointers, warps in zip(sources, *_matrix_rows(machine, address, mask), strict=False):
            data = np.ascontiguousarray(machine.read(source)).view(np.uint8).reshape(-1, 16)
            machine.shared.store(pointers, data, warps)

    return execute


def copy_tile(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """cp.async.bulk.tensor: one tile of a matrix to shared memory, zeros where it hangs over."""
    target, barrier = address_of(machine, operands[0]), address_of(machine, operands[2])
    pointer, column, row = (machine.slot(name) for name in names_in(operands[1]))

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for lane in np.flatnonzero(np.ones(machine.threads, bool) if mask is None else mask):
            tile = machine.parameters[int(machine.read(pointer)[lane])]
            assert isinstance(tile, TensorMap)
            first_row, first_column = (int(machine.read(slot).view(np.int32)[lane]) for slot in (row, column))
            start, warp, at = int(target(machine)[lane]), int(machine.warps[lane]), int(barrier(machine)[lane])
            if start % 1024:
                raise MachineError("a swizzled tile must begin at a multiple of 1024 bytes")
            places = swizzled(start + np.arange(tile.rows * tile.columns * 2))
            machine.asynchronous.barrier(at, machine.shared.epoch, warp)
            machine.shared.begin_copy(places, warp)
            machine.asynchronous.copies.append(Copy(at, places, _bytes_of_tile(tile, first_row, first_column)))

    return execute


def _bytes_of_tile(tile: TensorMap, row: int, column: int) -> NDArray[np.uint8]:
    rows, columns = tile.matrix.shape
    values = torch.zeros(tile.rows, tile.columns, dtype=torch.int16)
    inside = tile.matrix.view(torch.int16)[
        max(row, 0) : min(row + tile.rows, rows), max(column, 0) : min(column + tile.columns, columns)
    ]
    top, left = max(-row, 0), max(-column, 0)
    values[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return values.numpy().view(np.uint8).ravel()


def make_barrier(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    address, arrivals = address_of(machine, operands[0]), int(operands[1])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for lane in _lanes(machine, mask):
            place = int(address(machine)[lane])
            if place % 8:
                raise MachineError("an mbarrier must be at a multiple of 8 bytes")
            machine.asynchronous.barriers[place] = Barrier(arrivals, machine.shared.epoch, int(machine.warps[lane]))

    return execute


def end_barrier(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    address = address_of(machine, operands[0])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for lane in _lanes(machine, mask):
            place = int(address(machine)[lane])
            machine.asynchronous.barrier(place, machine.shared.epoch, int(machine.warps[lane]))
            if any(copy.barrier == place for copy in machine.asynchronous.copies):
                raise MachineError("an mbarrier is invalidated while a bulk copy is on its way to it")
            del machine.asynchronous.barriers[place]

    return execute


def announce_bytes(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """mbarrier.arrive.expect_tx."""
    address, size = address_of(machine, operands[1]), int(operands[2])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        for lane in _lanes(machine, mask):
            warp = int(machine.warps[lane])
            barrier = machine.asynchronous.barrier(int(address(machine)[lane]), machine.shared.epoch, warp)
            barrier.announced += size
            barrier.missing -= 1
            barrier.settle()

    return execute


def wait_for_barrier(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    result, address, parity = machine.slot(operands[0]), address_of(machine, operands[1]), machine.slot(operands[2])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        if mask is not None:
            raise MachineError("an mbarrier is waited for by some threads only")
        place, phase = _same(address(machine)), _same(machine.read(parity))
        over = machine.asynchronous.wait(place, phase, machine.shared)
        machine.write(result, np.full(machine.threads, over), None)

    return execute


def _lanes(machine: Machine, mask: Lanes | None) -> NDArray[np.int64]:
    return np.arange(machine.threads) if mask is None else np.flatnonzero(mask)
