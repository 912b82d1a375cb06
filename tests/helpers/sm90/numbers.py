"""Arithmetic of lanes, as the PTX ISA defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers.sm90.machine import Lanes
from helpers.sm90.memory import MachineError
from helpers.sm90.operands import bits

FLOATS = {"f32": np.float32}
SIGNED = {"s16": np.int16, "s32": np.int32, "s64": np.int64}
WIDER = {"s32": np.int64, "u32": np.uint64}
TINY = np.float32(2.0**-126)


def typed(value: Lanes, type_name: str) -> Lanes:
    """The bits of a register as numbers of a type."""
    return value.view(FLOATS.get(type_name) or SIGNED.get(type_name) or value.dtype)


def raw(value: Lanes, type_name: str) -> Lanes:
    return np.ascontiguousarray(value).view(bits(type_name))


def flushed(value: Lanes) -> Lanes:
    """.ftz: numbers below the smallest normal one become zero."""
    return np.where(np.abs(value) < TINY, np.copysign(np.float32(0), value), value)


def quotient(left: Lanes, right: Lanes) -> Lanes:
    """Of integers, towards zero."""
    if (right == 0).any():
        raise MachineError("a division by zero")
    magnitude = np.abs(left.astype(np.int64)) // np.abs(right.astype(np.int64))
    return (np.sign(left) * np.sign(right) * magnitude).astype(left.dtype)


def shifted(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Shifts by the width or more leave nothing but the sign."""

    def shift(left: Lanes, right: Lanes) -> Lanes:
        width = 8 * left.dtype.itemsize
        most = np.minimum(right.astype(np.uint64), np.uint64(width - 1)).astype(left.dtype)
        result = operation(left, most)
        return np.where(right.astype(np.uint64) < width, result, operation(result, left.dtype.type(1)))

    return shift


def flushing(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: flushed(operation(*map(flushed, values)))


def exp2(value: Lanes) -> Lanes:
    return np.exp2(value.astype(np.float64)).astype(np.float32)


def approximate(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Off by up to two units in the last place, as the ISA allows; equally for equal values, wherever they stand."""

    def off(*values: Lanes) -> Lanes:
        result: Lanes = np.asarray(operation(*values), np.float32)
        units = (result.view(np.uint32) * np.uint32(2654435761) >> np.uint32(29)).astype(np.float64) % 5 - 2
        return (result * (1 + units * 2.0**-23)).astype(np.float32)

    return off


def fma(left: Lanes, right: Lanes, addend: Lanes) -> Lanes:
    """A product of two fp32 numbers is exact in fp64."""
    return (left.astype(np.float64) * right + addend).astype(np.float32)


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mul.lo": np.multiply,
    "add.rn": np.add,
    "sub.rn": np.subtract,
    "mul.rn": np.multiply,
    "mad.lo": lambda left, right, addend: left * right + addend,
    "fma.rn": fma,
    "div": quotient,
    "div.full": approximate(np.divide),
    "div.approx": approximate(np.divide),
    "min": np.fmin,
    "max": np.fmax,
    "min.NaN": np.minimum,
    "max.NaN": np.maximum,
    "neg": np.negative,
    "abs": np.abs,
    "lg2.approx": approximate(lambda value: np.log2(value.astype(np.float64))),
    "ex2.approx": approximate(exp2),
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.bitwise_not,
    "shl": shifted(np.left_shift),
    "shr": shifted(np.right_shift),
}
ROUNDINGS = {"rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil, "rni": np.rint}
COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
