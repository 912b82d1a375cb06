"""Finds the operation of an instruction by its opcode."""

from __future__ import annotations

from collections.abc import Callable

from helpers.sm90 import loads, matrices, registers
from helpers.sm90.machine import Decoded, Machine, Operation
from helpers.sm90.memory import MachineError
from helpers.sm90.program import Instruction, Program

OPERATIONS: dict[str, Callable[[Machine, str, tuple[str, ...]], Operation]] = {
    "wgmma.mma_async": matrices.product,
    "wgmma.fence": lambda *_: matrices.fence_products,
    "wgmma.commit_group": lambda *_: matrices.commit_products,
    "wgmma.wait_group": matrices.wait_for_products,
    "ldmatrix": matrices.load_fragments,
    "stmatrix": matrices.store_fragments,
    "cp.async.bulk.tensor.2d": matrices.copy_tile,
    "mbarrier.init": matrices.make_barrier,
    "mbarrier.inval": matrices.end_barrier,
    "mbarrier.arrive.expect_tx": matrices.announce_bytes,
    "mbarrier.try_wait.parity": matrices.wait_for_barrier,
    "fence.proxy.async": loads.fence,
    "bar.sync": loads.synchronise,
    "elect.sync": registers.elect,
    "redux.sync.max.s32": registers.largest_in_warp,
    "shfl.sync": registers.shuffle,
    "bfe": registers.extract_bits,
    "cvta": registers.move,
    "cvt": registers.convert,
    "mov": registers.move,
    "selp": registers.select,
    "setp": registers.compare,
    "mul.wide": registers.wide,
    "mad.wide": registers.wide,
    "ld": loads.load,
    "st": loads.store,
}


def decode(program: Program, machine: Machine) -> list[Decoded]:
    return [_decoded(instruction, program, machine) for instruction in program.instructions]


def _decoded(instruction: Instruction, program: Program, machine: Machine) -> Decoded:
    opcode, operands = instruction.opcode, instruction.operands
    guard = None if instruction.guard is None else machine.slot(instruction.guard)
    if opcode in ("bra", "bra.uni"):
        return Decoded(instruction, None, guard, program.labels[operands[0]])
    if opcode == "ret":
        return Decoded(instruction, None, guard, None)
    parts = opcode.split(".")
    for length in range(len(parts), 0, -1):
        build = OPERATIONS.get(".".join(parts[:length]))
        if build is not None:
            break
    else:
        build = registers.arithmetic
    try:
        return Decoded(instruction, build(machine, opcode, operands), guard, None)
    except (AssertionError, KeyError, ValueError) as error:
        raise MachineError(f"{program.name}, line {instruction.line}: {opcode} {operands}: {error!r}") from error
