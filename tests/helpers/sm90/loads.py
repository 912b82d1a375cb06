"""Loads and stores of threads, barriers and fences."""

from __future__ import annotations

import numpy as np
from helpers.sm90.machine import Lanes, Machine, Operation
from helpers.sm90.operands import address_of, bits, names_in, operand, parameter


def load(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    type_name = opcode.rsplit(".", 1)[1]
    dtype = bits(type_name)
    targets = [machine.slot(name) for name in names_in(operands[0])]
    if ".param." in opcode:
        target, where = targets[0], operands[1]
        return lambda machine, mask: machine.write(target, _of_parameter(machine, where, operands[0], type_name), mask)
    is_shared, address = ".shared" in opcode, address_of(machine, operands[1])
    size = np.dtype(dtype).itemsize * len(targets)

    def execute(machine: Machine, mask: Lanes | None) -> None:
        chosen = slice(None) if mask is None else mask
        places = address(machine)[chosen]
        if is_shared:
            data = machine.shared.load(places, size, machine.warps[chosen])
        else:
            data = machine.memory.load(places, size, machine.block)
        values: Lanes = np.ascontiguousarray(data).view(dtype)
        for number, target in enumerate(targets):
            lanes: Lanes = np.zeros(machine.threads, dtype)
            lanes[chosen] = values[:, number]
            machine.write(target, lanes, mask)

    return execute


def _of_parameter(machine: Machine, where: str, register: str, type_name: str) -> Lanes:
    value = parameter(machine, where)
    if isinstance(value, float):
        return np.full(machine.threads, value, np.float32).view(np.uint32)
    dtype = np.uint64 if register.startswith("%rd") else bits(type_name)
    return np.full(machine.threads, value % (1 << 8 * np.dtype(dtype).itemsize), dtype)


def store(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    type_name = opcode.rsplit(".", 1)[1]
    texts = operands[1].strip("{} ").split(",")
    sources = [operand(machine, text.strip(), type_name) for text in texts]
    is_shared, address = ".shared" in opcode, address_of(machine, operands[0])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        chosen = slice(None) if mask is None else mask
        values: Lanes = np.stack([machine.read(slot)[chosen].astype(bits(type_name)) for slot in sources], 1)
        data, places = np.ascontiguousarray(values).view(np.uint8), address(machine)[chosen]
        if is_shared:
            machine.shared.store(places, data, machine.warps[chosen])
        else:
            machine.memory.store(places, data, machine.block)

    return execute


def synchronise(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    assert operands == ("0",), f"a barrier of some threads only: {operands}"
    return lambda machine, mask: machine.shared.barrier()


def fence(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    return lambda machine, mask: machine.shared.fence()
