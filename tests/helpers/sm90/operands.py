"""Operands as text become slots of a machine, and addresses become functions of its state."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from helpers.sm90.machine import Lanes, Machine
from helpers.sm90.memory import MachineError

WIDTHS = {"8": np.uint8, "16": np.uint16, "32": np.uint32, "64": np.uint64}
SPECIAL = {"%tid.x", "%ctaid.x", "%ctaid.y", "%nctaid.x", "%ntid.x"}


def bits(type_name: str) -> type:
    """Of registers of a type such as s32 or bf16."""
    return bool if type_name == "pred" else WIDTHS[type_name.lstrip("bufs")]


def names_in(text: str) -> list[str]:
    """Registers, in order."""
    return re.findall(r"%\w+", text)


def operand(machine: Machine, text: str, type_name: str) -> int:
    """The slot of a register or of a constant."""
    if text.startswith("%") and text not in SPECIAL:
        return machine.slot(text)
    if not re.match(r"[-\d]|global_smem|\w+_param_\d+$", text):
        return machine.slot(text)
    return machine.constant(np.full(machine.threads, _number(text, type_name), bits(type_name)))


def _number(text: str, type_name: str) -> int | bool:
    if text == "global_smem":
        return 0
    if "_param_" in text:
        return int(text.rsplit("_", 1)[1])  # where a parameter lies: its number
    if text.startswith("0f"):
        return int(text[2:], 16)
    value = int(text, 0)
    return bool(value) if type_name == "pred" else value % (1 << 8 * np.dtype(bits(type_name)).itemsize)


def address_of(machine: Machine, text: str) -> Callable[[Machine], Lanes]:
    """Of `[register]`, `[register + number]` or `[symbol + number]`; int64 of shared, uint64 of global memory."""
    match = re.fullmatch(r"\[\s*([%\w]+)\s*(?:\+\s*(-?\d+)\s*)?\]", text)
    assert match, f"unknown address {text}"
    base, offset = match[1], int(match[2] or 0)
    if base == "global_smem":
        fixed = np.full(machine.threads, offset, np.int64)
        return lambda machine: fixed
    slot = machine.slot(base)

    def address(machine: Machine) -> Lanes:
        value = machine.read(slot)
        if value.dtype == np.uint64:
            return value + np.uint64(offset % (1 << 64))
        return value.astype(np.int64) + offset

    return address


def parameter(machine: Machine, text: str) -> int | float:
    """The value of a parameter of the kernel that is a number or a pointer."""
    value = machine.parameters[int(text.strip("[]").rsplit("_", 1)[1])]
    if not isinstance(value, int | float):
        raise MachineError("a tensor map is loaded as if it were a number")
    return value
