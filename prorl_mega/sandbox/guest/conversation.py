"""A program and the assertions about it, in two sandboxes that exchange one line of JSON per call.

Both sides may call what the other one keeps: the tests call functions of the program, and the program calls functions
that the tests gave it as arguments. A message is a request ({"call": name or number}, {"next": number}, {"get":
number, "name": attribute}) or a reply.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import partial
from types import CoroutineType
from typing import Any, NoReturn

from prorl_mega.sandbox.guest.distant import SilentProgramError
from prorl_mega.sandbox.guest.programs import RESULT, define, find_function, leave, write_all
from prorl_mega.sandbox.guest.values import NotPlainError, plain, renew, unplain

_END = object()  # of an iterator
_SIGNALLING = {"unittest"}  # its exceptions tell it to leave a test out
_MAX_LINE = 1 << 24  # bytes of one message between a program and its tests


class Settled(Coroutine[None, None, Any]):
    """A stand-in for a coroutine that the program has run to its end: what it returned or raised, for who awaits it.

    It can be awaited and nothing else: a coroutine is true, and differs from everything, without having said anything.
    """

    def __init__(self, settle: Callable[[], Any]) -> None:
        self._settle = settle

    def send(self, _: None) -> NoReturn:
        try:
            value = self._settle()
        except StopIteration as error:
            raise RuntimeError("coroutine raised StopIteration") from error
        raise StopIteration(value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> NoReturn:
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing is left to end."""

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> NoReturn:
        self.send(None)

    def _mute(self, *_: Any) -> NoReturn:
        raise SilentProgramError("a coroutine that is not awaited is no answer")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _mute
    __hash__ = object.__hash__


class Peer:
    """One end of a conversation. `find` gives the function that a name in a request stands for."""

    is_program = True  # which runs the coroutines that its functions return, and tells attributes of its objects
    awaits = False  # coroutines of the other side

    def __init__(self, find: Callable[[str], Callable[..., Any]]) -> None:
        self._find = find
        self._lines = open(os.dup(0), "rb")  # noqa: SIM115 (as long as the process)
        self._kept: list[Any] = []
        self._turn = threading.RLock()  # of the threads that ask; one that answers meanwhile may ask again

    def serve(self) -> None:
        """Answer requests until the other side closes."""
        while line := self._lines.readline(_MAX_LINE):
            self._send(self._answer(json.loads(line)))

    def function(self, name: str | int) -> Callable[..., Any]:
        """A stand-in for a function of the other side."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            given = [list(arguments), keywords]
            request = {"call": name, "given": plain(given, self._keep)}
            value, changed = self._ask(request)
            if value is None and changed is not None:  # a function that works in place returns nothing
                renew(given, changed)
            return value

        return call

    def load(self, line: bytes) -> Any:
        """A message of the other side. Raises ValueError."""
        return json.loads(line)

    def fail(self, error: Exception) -> NoReturn:
        """Raise what a function of the other side has raised."""
        raise error

    def _iterator(self, number: int) -> Iterator[Any]:
        while True:
            value, _ = self._ask({"next": number})
            if value is _END:
                return
            yield value

    def _stand_in(self, kind: str, number: int) -> Any:
        if kind == "object":
            return self._object(number)
        return self.function(number) if kind == "function" else self._iterator(number)

    def _object(self, number: int) -> Any:
        return self._kept[number]  # the other side gives it back

    def attribute(self, number: int, name: str) -> Any:
        """An attribute of an object of the other side."""
        return self._ask({"get": number, "name": name})[0]

    def _keep(self, value: Any) -> int:
        self._kept.append(value)
        return len(self._kept) - 1

    def _send(self, message: dict[str, Any]) -> None:
        write_all(RESULT, json.dumps(message) + "\n")

    def _ask(self, request: dict[str, Any]) -> tuple[Any, Any]:
        """The value that the other side returns, and what became of the arguments. Raises what it has raised."""
        try:
            with self._turn:
                reply = self._reply(request)
            error = None if "raised" not in reply else _exception(reply)
            ended = error is not None or ("next" in request and "ended" in reply)
            value = _END if ended else self._value(reply["returned"])
            changed = self._value(reply["changed"]) if "changed" in reply else None
            awaited = self._is_awaited(reply)
        except Exception:  # of reading what the other side has written, which must not look like an exception of it
            raise SilentProgramError("no answer, or none that is plain data") from None
        if awaited:
            return Settled(lambda: value if error is None else self.fail(error)), None
        if error is not None:
            self.fail(error)
        return value, changed

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; what the other side asks before it is answered."""
        self._send(request)
        while True:
            reply = self.load(self._lines.readline(_MAX_LINE))
            if reply.keys().isdisjoint(("call", "next", "get")):
                return reply
            self._send(self._answer(reply))

    def _is_awaited(self, reply: dict[str, Any]) -> bool:
        if "awaited" in reply and not self.awaits:
            raise SilentProgramError("a coroutine that nobody awaits")
        return "awaited" in reply

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name, given, awaited = request.get("call"), None, {}
        function = self._find(name) if isinstance(name, str) else None
        try:
            if "get" in request:
                if not self.is_program:  # attributes of the tests' functions lead to what they expect
                    raise SilentProgramError("the program asks for attributes")
                value = getattr(self._kept[request["get"]], request["name"])
            elif name is None:
                value = next(self._kept[request["next"]])
            else:
                given = self._value(request["given"])
                value = (function or self._kept[name])(*given[0], **given[1])
            if self.is_program and isinstance(value, CoroutineType):
                awaited = {"awaited": True}
                value = _settled(value)
        except StopIteration as error:
            return {"ended": True} if "next" in request else _raised(error)
        except Exception as error:
            return _raised(error) | awaited
        try:
            reply = {"returned": plain(value, self._keep)} | awaited
        except (NotPlainError, RecursionError):
            return {}  # no answer: the other side must not take it for an exception of the function
        if value is None and given is not None:
            with contextlib.suppress(NotPlainError, RecursionError):  # a function among the arguments, say
                reply["changed"] = plain(given, _stays)
        return reply

    def _value(self, data: Any) -> Any:
        return unplain(data, self._stand_in)


def _settled(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # takes a tenth of a second, and few programs need it

    return asyncio.run(coroutine)


def serve_calls(job: dict[str, Any]) -> None:
    """Answer calls, one line of JSON each, until the other side closes."""

    def answer() -> None:
        namespace = define(job["source"])
        Peer(lambda name: find_function(namespace, name)).serve()

    leave(answer, wait=False)


def _stays(value: Any) -> int:
    """Refuse to number a value: a copy of the arguments is sent back, or nothing."""
    raise NotPlainError(f"a value of type {type(value).__name__} is not plain data")


def _raised(error: Exception) -> dict[str, Any]:
    """The message about an exception: its class and those above it, the nearest first, and what it says."""
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    try:
        arguments = plain(list(error.args))
    except (NotPlainError, RecursionError):
        arguments = []
    return {"raised": names, "arguments": arguments, "words": str(error)[:500]}


def _exception(reply: dict[str, Any]) -> Exception:
    """The exception that a message is about, of the nearest class that the standard library has."""
    words = [str(reply["words"])] if reply["words"] else []
    arguments = unplain(reply["arguments"])
    for name in reply["raised"]:
        module, _, kind = name.rpartition(".")
        known = module.partition(".")[0] in sys.stdlib_module_names - _SIGNALLING
        found = getattr(sys.modules.get(module), kind, None) if known else None
        if isinstance(found, type) and issubclass(found, Exception):
            for make in (found, partial(found.__new__, found)):  # some cannot be made of what they say
                try:
                    return make(*arguments)
                except Exception:
                    arguments = words
        arguments = words  # those of a class that the program has made say nothing to the class above it
    return RuntimeError(*words)
