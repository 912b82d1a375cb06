"""The tests of LiveCodeBench, which are stored as a compressed pickle of one text.

The text is read out of the bytes; nothing is unpickled. Whatever else a pickle may hold is refused.
"""

from __future__ import annotations

import base64
import binascii
import zlib

from prorl_mega.data.rows import BadRowError

LARGEST = 1 << 29  # bytes of the tests of one row
_LENGTHS = {0x8C: 1, 0x58: 4, 0x8D: 8}  # of a text: SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
_PROTOCOL, _FRAME, _MEMO, _STOP = 0x80, 0x95, 0x94, 0x2E
_PUT = {0x71: 1, 0x72: 4}  # BINPUT, LONG_BINPUT: what older protocols use instead of a memo


def stored_text(value: str) -> str:
    """The one text in a base64 text of a compressed pickle. Raises BadRowError for anything else."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(value, validate=True), LARGEST)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadRowError("wrong tests", f"the tests are neither JSON nor compressed: {error}") from None
    if not unpacker.eof:
        raise BadRowError("too long", f"the tests have more than {LARGEST >> 20} MiB, or are truncated")
    return _text_in(data)


def _text_in(data: bytes) -> str:
    place = 2 if data[:1] == bytes([_PROTOCOL]) else 0
    if data[place : place + 1] == bytes([_FRAME]):
        place += 9
    size = _LENGTHS.get(data[place]) if place < len(data) else None
    if size is None:
        raise BadRowError(
            "pickled tests", "the tests are a pickle of more than a text, which is not read: it can run code"
        )
    begin = place + 1 + size
    end = begin + int.from_bytes(data[place + 1 : begin], "little")
    rest = data[end:]
    if rest[:1] == bytes([_MEMO]):
        rest = rest[1:]
    elif rest and rest[0] in _PUT:
        rest = rest[1 + _PUT[rest[0]] :]
    if rest != bytes([_STOP]):
        raise BadRowError(
            "pickled tests", "the tests are a pickle of more than a text, which is not read: it can run code"
        )
    try:
        return data[begin:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRowError("invalid UTF-8", f"invalid UTF-8 in the tests, byte {error.start + 1}") from None
