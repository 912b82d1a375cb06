"""Messages between processes: four bytes of length, then JSON, which is read into a declared type and nothing else.

Never pickle: the other process may be hostile. msgspec reads the JSON and checks it. What its reader refuses is read
once more by the standard library, because answers and problems may hold it: lone surrogates, NaN, infinity. The
standard library also writes, because msgspec's writer refuses the first and changes the others.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

MAX_MESSAGE = 1 << 28  # bytes
_HEADER = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1
Message = TypeVar("Message", bound=msgspec.Struct)


class BrokenMessageError(Exception):
    """The other side sent an invalid message; the text may be shown to it."""


def dump(message: msgspec.Struct) -> bytes:
    """`message` as JSON. Fields of bytes become base64; anything else must be JSON already."""
    return json.dumps(message, default=_fields).encode("ascii")  # lone surrogates survive as escapes


def load(body: bytes, kind: type[Message]) -> Message:
    """The `kind` that the JSON in `body` describes. Raises BrokenMessageError for anything else."""
    with contextlib.suppress(ValueError, RecursionError):  # nearly always; it takes half the time
        return msgspec.json.decode(body, type=kind)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenMessageError(f"not JSON: {str(error)[:200]}") from None
    try:
        return msgspec.convert(found, kind)
    except (ValueError, RecursionError) as error:  # a ValidationError, or a key that is no Unicode
        raise BrokenMessageError(str(error)[:300]) from None


def send(descriptor: int, message: msgspec.Struct) -> None:
    """Write the whole message; waits while a pipe is full."""
    data = encode(message)
    while data:
        data = data[os.write(descriptor, data) :]


def encode(message: msgspec.Struct) -> bytes:
    body = dump(message)
    assert len(body) <= MAX_MESSAGE, "message too long"
    return _HEADER.pack(len(body)) + body


class Inbox(Generic[Message]):
    """Collects bytes as they arrive and returns whole messages, so that neither side waits for a slow other one."""

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises BrokenMessageError."""
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._bytes)
            if length > MAX_MESSAGE:
                raise BrokenMessageError(f"a message of {length} bytes was announced")
            end = _HEADER.size + length
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[_HEADER.size : end])
            del self._bytes[:end]
            yield load(body, self._kind)


def start_child(module: str, *arguments: str, stderr: Any = None, **environment: str) -> subprocess.Popen[bytes]:
    """`python -m MODULE OWN_PID ARGUMENTS...` with pipes for messages, and no environment but the paths and this."""
    paths = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=paths | environment,
        cwd="/",
        bufsize=0,
    )


def pipes_to_parent() -> tuple[int, int]:
    """The descriptors that a child reads from and writes to. Its standard streams become /dev/null.

    The kernel kills the child when its parent dies. The kernel takes the thread that started the child for the parent,
    so that thread must live as long as the child is needed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(0)  # it died before the kernel was asked
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # what scorers and programs print must not be taken for messages
    return source, sink


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, msgspec.Struct):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return {
        name: base64.b64encode(field).decode("ascii") if isinstance(field, bytes) else field
        for name, field in msgspec.structs.asdict(value).items()
    }
