"""The share of one engine in a collection, and the exchange of all shares between the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from prorl_mega.distributed.collectives import all_gather_bytes, gather_bytes
from prorl_mega.types import Sample, Scoring


@dataclass(kw_only=True, slots=True)
class Share:
    """The samples of one engine by problem, in the order it was given them. Every rank has the problems already."""

    prompts: list[np.ndarray]  # [P] int32 each
    samples: list[list[Sample]]
    scoring: Scoring


def exchange_shares(share: Share | None) -> list[Share]:
    """The shares of all engines, in their order, on every rank; None from a rank that leads no engine.

    Texts travel to rank 0 alone, which writes them for people; elsewhere they are "" afterwards.
    """
    samples = [sample for row in share.samples for sample in row] if share else []
    texts = gather_bytes(_encode([sample.text for sample in samples]))
    for sample in samples:
        sample.text = ""
    shares = [
        msgspec.msgpack.decode(payload, type=Share, dec_hook=_to_array)
        for payload in all_gather_bytes(_encode(share) if share else b"")
        if payload
    ]
    if texts:  # those of all ranks, in the order of their engines
        everything = [sample for each in shares for row in each.samples for sample in row]
        decoded = [text for payload in texts for text in msgspec.msgpack.decode(payload, type=list[str])]
        for sample, text in zip(everything, decoded, strict=True):
            sample.text = text
    return shares


def _encode(value: Any) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=lambda array: (array.dtype.str, array.tobytes()))


def _to_array(_: type, encoded: tuple[str, bytes]) -> np.ndarray:
    dtype, data = encoded
    return np.frombuffer(data, dtype).copy()  # writable
