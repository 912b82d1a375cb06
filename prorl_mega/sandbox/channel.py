"""Messages between the pool and a worker: four bytes of length, then JSON. Never pickle: a worker may be hostile.

`Inbox` collects bytes as they come and hands out whole messages, so that neither side waits for a slow other one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

MAX_MESSAGE = 1 << 28  # bytes
_HEADER = struct.Struct("<I")


class BrokenMessageError(Exception):
    """The other side said something that it must not say; the text may be shown to it."""


def encode(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode("ascii")  # lone surrogates survive as escapes
    assert len(body) <= MAX_MESSAGE, "message too long"
    return _HEADER.pack(len(body)) + body


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is. Raises BrokenMessageError."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenMessageError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(message, dict):
        raise BrokenMessageError("not a JSON object")
    return message


class Inbox:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
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
            yield read_object(body)
