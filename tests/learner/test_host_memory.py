"""Memory of a process that goes on for thousands of steps. Each test needs a process whose heap is its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc 2.33 or later"
)

COUNTERS = """
import ctypes
import torch
from prorl_mega.learner.backend import activate
from prorl_mega.learner.linear import _HostLinear
from prorl_mega.config.schema import RolloutConfig
from prorl_mega.rollout.startup import prepare_environment

class Counters(ctypes.Structure):  # of glibc's malloc, in bytes
    _fields_ = [(name, ctypes.c_size_t) for name in "arena a b c mapped d e used free top".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Counters
activate()
"""

MANY_SIZES = """
prepare_environment(RolloutConfig())
weight = torch.zeros(1024, 192)
for rows in range(1, 501):
    _HostLinear.apply(torch.zeros(rows, 192), weight, None)
    if rows in (300, 500):
        print(mallinfo2().used + mallinfo2().mapped)
"""

LARGE_AND_SMALL = """
for mib in (24, 5, 1):
    before = mallinfo2().mapped
    tensor = torch.empty(mib << 20, dtype=torch.uint8)
    print(mallinfo2().mapped - before)
    del tensor
"""


def _printed(code: str) -> list[float]:
    """In MiB."""
    done = subprocess.run([sys.executable, "-c", COUNTERS + code], capture_output=True, text=True, check=True)
    return [int(line) / 2**20 for line in done.stdout.split()]


def test_memory_does_not_grow_with_the_sizes_of_products() -> None:
    """There are two caches of compiled products; either of them, as it is by default, grows by 40 MiB or more here."""
    early, late = _printed(MANY_SIZES)
    assert late - early < 10, f"{early:.0f} MiB after 300 sizes, {late:.0f} MiB after 500"


def test_large_tensors_stay_off_the_heap() -> None:
    """By default the first one, once it is freed, moves the threshold above its own size."""
    first, large, small = _printed(LARGE_AND_SMALL)
    assert first >= 24
    assert large >= 5
    assert small == 0
