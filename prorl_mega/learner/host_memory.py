"""Bounds on resident memory, so that it stays constant over thousands of steps on a CPU.

Two things would make it grow for hours. oneDNN compiles a kernel for every shape of a product, and torch keeps them a
second time, beside oneDNN's own cache (which the engine bounds): rare lengths of packs go on turning up. And glibc puts
allocations of up to 32 MiB, the activations of a pack, on the heap between small ones that live longer, so that the
holes they leave do not fit the next ones.
"""

from __future__ import annotations

import ctypes
import os

_KERNELS = "192"  # of up to half a megabyte, 12 for one length of pack; what is compiled anew in each step scatters

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_MAPPED = 4 << 20  # bytes; the smaller, the more page faults: with 1 MiB a step takes 1.2 times as long
_TRIMMED = 32 << 20  # bytes; setting one threshold leaves the other at 128 KiB, less than every step needs again


def bound_host_memory() -> None:
    """Bound what torch keeps of compiled products, and give large tensors pages of their own. Before the first product.

    A C library without `mallopt` is left as it is, and so is a bound that the user has set.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", _KERNELS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, _TRIMMED)
