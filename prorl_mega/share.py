"""The share of one engine in a collection, and the exchange of all shares between the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from prorl_mega.distributed.collectives import all_gather_bytes, gather_bytes
from prorl_mega.types import Sample, Scoring

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Share:
    """The samples of one engine by problem, in the order it was given them. Every rank has the problems already."""

    prompts: list[np.ndarray]  # [P] int32 each
    samples: list[list[Sample]]
    scoring: Scoring
    is_complete: bool = True  # False: the engine has stopped before its end


def exchange_shares(share: Share | None) -> list[Share]:
    """The shares of all engines, in their order, on every rank; None from a rank that leads no engine.

    Texts travel to rank 0 alone, which writes them for people; elsewhere they are "" afterwards.
    """
    samples = [sample for row in share.samples for sample in row] if share else []
    texts = gather_bytes(encode([sample.text for sample in samples]))
    for sample in samples:
        sample.text = ""
    shares = [decode(payload, Share) for payload in all_gather_bytes(encode(share) if share else b"") if payload]
    if texts:  # those of all ranks, in the order of their engines
        everything = [sample for each in shares for row in each.samples for sample in row]
        decoded = [text for payload in texts for text in msgspec.msgpack.decode(payload, type=list[str])]
        for sample, text in zip(everything, decoded, strict=True):
            sample.text = text
    return shares


def encode(value: Any) -> bytes:
    """`value`, which may contain arrays, as msgpack."""
    return msgspec.msgpack.encode(value, enc_hook=lambda array: (array.dtype.str, array.tobytes()))


def decode(payload: bytes, kind: type[T]) -> T:
    """The `kind` that `encode` was given. Raises msgspec.ValidationError for anything else."""
    return msgspec.msgpack.decode(payload, type=kind, dec_hook=_to_array)


def _to_array(_: type, encoded: tuple[str, bytes]) -> np.ndarray:
    dtype, data = encoded
    return np.frombuffer(data, dtype).copy()  # writable
