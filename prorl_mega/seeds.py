"""The seed of a sample, a function of what is sampled and of nothing that happened before."""

from __future__ import annotations

import hashlib


def sample_seed(run_seed: int, stream: str, key: str, index: int) -> int:
    """A seed per (run, step, prompt, sample), so that a resumed run samples what the interrupted one would have."""
    digest = hashlib.blake2b(f"{run_seed}\0{stream}\0{key}\0{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # engines take signed 64-bit seeds
