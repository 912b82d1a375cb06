"""Instructions on registers: arithmetic, comparisons, moves, conversions, exchanges within a warp."""

from __future__ import annotations

import numpy as np
from helpers.sm90.machine import WARP, Lanes, Machine, Operation
from helpers.sm90.memory import MachineError
from helpers.sm90.numbers import ARITHMETIC, COMPARISONS, FLOATS, ROUNDINGS, SIGNED, WIDER, flushing, raw, typed
from helpers.sm90.operands import SPECIAL, WIDTHS, bits, names_in, operand


def arithmetic(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    name, type_name = opcode.replace(".ftz", "").rsplit(".", 1)
    function, target = ARITHMETIC[name], machine.slot(operands[0])
    function = flushing(function) if ".ftz" in opcode else function
    is_shift = name in ("shl", "shr")
    types = [type_name, "u32"] if is_shift else [type_name] * 3
    sources = [(operand(machine, text, t), t) for text, t in zip(operands[1:], types, strict=False)]

    def execute(machine: Machine, mask: Lanes | None) -> None:
        with np.errstate(all="ignore"):
            result = function(*(typed(machine.read(slot), t) for slot, t in sources))
        machine.write(target, raw(result, type_name), mask)

    return execute


def wide(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """mul.wide and mad.wide: 32-bit factors, a 64-bit result."""
    type_name, target = opcode.rsplit(".", 1)[1], machine.slot(operands[0])
    left, right = (operand(machine, text, type_name) for text in operands[1:3])
    addend = operand(machine, operands[3], "u64") if len(operands) == 4 else None

    def execute(machine: Machine, mask: Lanes | None) -> None:
        factors = [typed(machine.read(slot), type_name).astype(WIDER[type_name]) for slot in (left, right)]
        result = (factors[0] * factors[1]).view(np.uint64)
        machine.write(target, result if addend is None else result + machine.read(addend), mask)

    return execute


def compare(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    _, name, type_name = opcode.split(".")
    left, right = (operand(machine, text, type_name) for text in operands[1:])
    target, function = machine.slot(operands[0]), COMPARISONS[name]

    def execute(machine: Machine, mask: Lanes | None) -> None:
        sides = (typed(machine.read(slot), type_name) for slot in (left, right))
        machine.write(target, function(*sides), mask)

    return execute


def select(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    type_name = opcode.rsplit(".", 1)[1]
    first, second = (operand(machine, text, type_name) for text in operands[1:3])
    target, condition = machine.slot(operands[0]), machine.slot(operands[3])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        result = np.where(machine.read(condition), machine.read(first), machine.read(second))
        machine.write(target, result, mask)

    return execute


def move(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """Also of special registers, of halves into a whole and of a whole into halves."""
    type_name = opcode.rsplit(".", 1)[1]
    if operands[0].startswith("{"):
        return _split(machine, operands, type_name)
    target = machine.slot(operands[0])
    if operands[1].startswith("{"):
        parts = [machine.slot(name) for name in names_in(operands[1])]

        def execute(machine: Machine, mask: Lanes | None) -> None:
            halves = np.stack([machine.read(slot) for slot in parts], 1)
            machine.write(target, np.ascontiguousarray(halves).view(bits(type_name)).ravel(), mask)

        return execute
    if operands[1] in SPECIAL:
        special = operands[1]
        return lambda machine, mask: machine.write(target, _special(machine, special), mask)
    source = operand(machine, operands[1], type_name)
    return lambda machine, mask: machine.write(target, machine.read(source), mask)


def _split(machine: Machine, operands: tuple[str, ...], type_name: str) -> Operation:
    """`_` takes the part that nobody wants."""
    names, source = operands[0].strip("{} ").replace(" ", "").split(","), operand(machine, operands[1], type_name)
    half = WIDTHS[str(8 * np.dtype(bits(type_name)).itemsize // len(names))]

    def execute(machine: Machine, mask: Lanes | None) -> None:
        parts = np.ascontiguousarray(machine.read(source)).view(half).reshape(machine.threads, len(names))
        for number, name in enumerate(names):
            if name != "_":
                machine.write(machine.slot(name), np.ascontiguousarray(parts[:, number]), mask)

    return execute


def _special(machine: Machine, name: str) -> Lanes:
    values = {
        "%tid.x": np.arange(machine.threads),
        "%ctaid.x": machine.block % machine.grid[0],
        "%ctaid.y": machine.block // machine.grid[0],
        "%nctaid.x": machine.grid[0],
        "%ntid.x": machine.threads,
    }
    return np.broadcast_to(np.asarray(values[name], np.uint32), machine.threads)


def convert(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    _, *modes, to, of = opcode.split(".")
    target, source = machine.slot(operands[0]), operand(machine, operands[1], of)
    whole = next((ROUNDINGS[mode] for mode in modes if mode in ROUNDINGS), None)

    def execute(machine: Machine, mask: Lanes | None) -> None:
        value = machine.read(source)
        result = _converted(value, of, to) if whole is None else _rounded(whole(value.view(np.float32)), to)
        machine.write(target, result, mask)

    return execute


def _rounded(value: Lanes, to: str) -> Lanes:
    """Whole numbers; as integers they stay within their type, and what is no number becomes 0."""
    if to == "f32":
        return value.view(np.uint32)
    limits = np.iinfo(SIGNED.get(to) or bits(to))
    bounded = np.clip(np.nan_to_num(value.astype(np.float64), nan=0.0), limits.min, limits.max)
    return raw(bounded.astype(limits.dtype), to)


def _converted(value: Lanes, of: str, to: str) -> Lanes:
    if of == "f32" and to == "bf16":
        exact = value.astype(np.uint64)
        rounded = ((exact + 0x7FFF + (exact >> 16 & 1)) >> 16).astype(np.uint16)
        return np.where(np.isnan(value.view(np.float32)), np.uint16(0x7FFF), rounded)
    if of == "f32" and to == "f16":
        with np.errstate(over="ignore"):
            return value.view(np.float32).astype(np.float16).view(np.uint16)
    if of in ("f16", "bf16") and to == "f32":
        wide_bits = value.astype(np.uint32) << 16
        return wide_bits if of == "bf16" else value.view(np.float16).astype(np.float32).view(np.uint32)
    numbers = typed(value, of)
    if to in FLOATS:
        return raw(numbers.astype(FLOATS[to]), to)
    if of in FLOATS:
        raise MachineError(f"no conversion from {of} to {to}")
    return numbers.astype(SIGNED.get(to) or bits(to)).view(bits(to))


def extract_bits(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """bfe: `length` bits from `first` on, with their sign if it is signed."""
    type_name, target = opcode.rsplit(".", 1)[1], machine.slot(operands[0])
    source, first, length = operand(machine, operands[1], type_name), int(operands[2]), int(operands[3])
    assert first + length <= 32

    def execute(machine: Machine, mask: Lanes | None) -> None:
        top = typed(machine.read(source) << np.uint32(32 - first - length), type_name)
        machine.write(target, raw(top >> top.dtype.type(32 - length), type_name), mask)

    return execute


def shuffle(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    target, source = machine.slot(operands[0]), machine.slot(operands[1])
    lane, lanes = int(operands[2]), np.arange(machine.threads)
    assert operands[3:] == ("31", "-1"), f"a shuffle of a part of a warp: {operands}"
    partner = lanes ^ lane if ".bfly." in opcode else lanes // WARP * WARP + lane

    def execute(machine: Machine, mask: Lanes | None) -> None:
        if mask is not None:
            raise MachineError("a shuffle of some threads only")
        machine.write(target, machine.read(source)[partner], None)

    return execute


def largest_in_warp(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    target, source = machine.slot(operands[0]), machine.slot(operands[1])

    def execute(machine: Machine, mask: Lanes | None) -> None:
        values = typed(machine.read(source), "s32").reshape(-1, WARP).max(1)
        machine.write(target, raw(np.repeat(values, WARP), "s32"), mask)

    return execute


def elect(machine: Machine, opcode: str, operands: tuple[str, ...]) -> Operation:
    """One thread of each warp; which one is not promised, so it is not the first."""
    leader, chosen = (machine.slot(name) for name in names_in(operands[0]))
    lanes = np.arange(machine.threads)

    def execute(machine: Machine, mask: Lanes | None) -> None:
        machine.write(leader, np.full(machine.threads, WARP - 1, np.uint32), mask)
        machine.write(chosen, lanes % WARP == WARP - 1, mask)

    return execute
