"""Stand-ins for objects of classes that a program has made: its tests ask for their attributes and call their methods.

An object that could compare itself would be right always. So it is equal to nothing, neither true nor false, and knows
no arithmetic and no `in`: with these the tests end. Its attributes, methods, length, items and texts are what the other
side says, as plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

Attribute = Callable[[int, str], Any]  # of the object with a number, by name; raises what the program raises

_FORWARDED = ("__len__", "__getitem__", "__setitem__", "__delitem__", "__str__", "__repr__", "__next__")
_MUTE = (
    "__bool__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__", "__index__", "__int__",
    "__float__", "__complex__", "__abs__", "__neg__", "__pos__", "__invert__", "__round__", "__trunc__",
    "__length_hint__",
    *[f"__{side}{name}__" for side in ("", "r", "i") for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")],
)  # fmt: skip


class SilentProgramError(BaseException):
    """The program under test ended or does not answer. Not an Exception: tests may catch those."""


class Distant:
    """An object of the other side."""

    __slots__ = ("_distant_attribute", "_distant_number")

    def __init__(self, number: int, attribute: Attribute) -> None:
        object.__setattr__(self, "_distant_number", number)
        object.__setattr__(self, "_distant_attribute", attribute)

    def __getattr__(self, name: str) -> Any:
        return self._distant_attribute(self._distant_number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._distant_attribute(self._distant_number, "__setattr__")(name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._distant_attribute(self._distant_number, "__iter__")())

    __hash__ = object.__hash__


def number_of(value: Any) -> int | None:
    """The number by which the other side knows an object; None for objects of this side."""
    return object.__getattribute__(value, "_distant_number") if type(value) is Distant else None


def _forward(name: str) -> Callable[..., Any]:
    def forwarded(self: Distant, *arguments: Any) -> Any:
        return self._distant_attribute(self._distant_number, name)(*arguments)

    return forwarded


def _refuse(self: Distant, *_: Any) -> NoReturn:
    raise SilentProgramError("an object of the program cannot compare itself")


for _name in _FORWARDED:
    setattr(Distant, _name, _forward(_name))
for _name in _MUTE:
    setattr(Distant, _name, _refuse)
