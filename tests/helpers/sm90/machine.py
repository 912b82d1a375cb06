"""Runs a parsed program: all threads of a block in step, one block after the other.

A branch that the threads of a block do not take together is refused: none of our kernels has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from helpers.sm90.asynchronous import Asynchronous
from helpers.sm90.memory import GlobalMemory, MachineError, SharedMemory
from helpers.sm90.program import Instruction, Program
from numpy.typing import NDArray

Lanes = NDArray[Any]  # one value per thread: bool, uint16, uint32 or uint64
Operation = Callable[["Machine", Lanes | None], None]
MOST_STEPS = 3_000_000
WARP = 32


class Pending:
    """Stands in a register that a matrix instruction has yet to write."""


PENDING = Pending()


@dataclass(slots=True)
class Decoded:
    """An instruction whose operation is known; or a branch."""

    source: Instruction
    operation: Operation | None
    guard: int | None
    target: int | None


class Machine:
    """The state of one block: registers, shared memory, matrix instructions and bulk copies under way."""

    def __init__(self, program: Program, parameters: list[Any], memory: GlobalMemory, grid: tuple[int, int]) -> None:
        self.program, self.parameters, self.memory, self.grid = program, parameters, memory, grid
        self.threads = program.threads
        self.warps = np.arange(self.threads) // WARP
        self.slots: dict[str, int] = {}
        self.initial: list[Any] = []
        self.registers: list[Any] = []
        self.stamps: list[int] = []

    def slot(self, name: str) -> int:
        """Of a register, or of a constant whose lanes are filled once."""
        if name not in self.slots:
            self.slots[name] = len(self.initial)
            self.initial.append(None)
        return self.slots[name]

    def constant(self, value: Lanes) -> int:
        self.initial.append(value)
        return len(self.initial) - 1

    def read(self, slot: int) -> Lanes:
        value = self.registers[slot]
        if value is PENDING:
            raise MachineError("a register is read before the matrix instruction that writes it has been waited for")
        if value is None:
            raise MachineError("a register is read that nothing has been written to")
        return value

    def write(self, slot: int, value: Lanes, mask: Lanes | None) -> None:
        """Threads outside of `mask` keep what they have."""
        old = self.registers[slot]
        if old is PENDING:
            raise MachineError("a register is written while a matrix instruction still writes it")
        if mask is not None:
            value = np.where(mask, value, ~np.zeros_like(value) if old is None else old)
        self.registers[slot] = value
        self.stamps[slot] = self.step

    def run(self, instructions: list[Decoded], block: int) -> None:
        """Block `block` from its first instruction to its return."""
        self.block, self.step, position = block, 0, 0
        self.shared, self.asynchronous = SharedMemory(), Asynchronous()
        self.registers, self.stamps = list(self.initial), [0] * len(self.initial)
        while position < len(instructions):
            instruction = instructions[position]
            position += 1
            self.step += 1
            if self.step > MOST_STEPS:
                raise MachineError("the program does not end")
            try:
                mask = self._mask(instruction)
                if mask is not None and not mask.any():
                    continue
                if instruction.operation is not None:
                    instruction.operation(self, None if mask is None or mask.all() else mask)
                    continue
                if mask is not None and not mask.all():
                    raise MachineError("the threads of a block part at a branch")
            except MachineError as fault:
                raise MachineError(f"{self.program.name}, line {instruction.source.line}: {fault}") from None
            if instruction.target is None:
                break
            position = instruction.target
        self.asynchronous.check_finished()

    def _mask(self, instruction: Decoded) -> Lanes | None:
        if instruction.guard is None:
            return None
        taken = self.read(instruction.guard)
        return ~taken if instruction.source.unless else taken
