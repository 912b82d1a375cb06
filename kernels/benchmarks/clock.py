"""Time of one repetition, on a GPU by events and on a CPU by the clock; memory by the GPU's allocator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

from prorl_kernels.benchmarks.work import Work, bytes_of

FLUSH_BYTES = 256 << 20  # more than any L2 cache
MIB = 1 << 20


class Clock(Protocol):
    def time(self, work: Work, cold: bool) -> tuple[float, float]:
        """Milliseconds of the forward pass and of both passes."""

    def workspace(self, work: Work) -> float | None:
        """Highest memory in use during one repetition beyond inputs, statistics and gradients, in MiB; None if this
        process is not the place to measure it."""


class DeviceClock:
    """A CUDA device. Work that the host launches too slowly counts, as it does in use."""

    def __init__(self) -> None:
        self._flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")

    def time(self, work: Work, cold: bool) -> tuple[float, float]:
        if cold:
            self._flush.fill_(1)
        start, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        start.record()
        state = work.forward()
        middle.record()
        if work.backward is not None:
            work.backward(state)
        end.record()
        end.synchronize()
        return start.elapsed_time(middle), start.elapsed_time(end)

    def workspace(self, work: Work) -> float | None:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        state = work.forward()
        kept = bytes_of(state)
        if work.backward is not None:
            kept += bytes_of(work.backward(state))
        torch.cuda.synchronize()
        return max(0, torch.cuda.max_memory_allocated() - before - kept) / MIB


class HostClock:
    """`clock` is `time.perf_counter`, or `time.process_time` (of all threads together) on a machine with other work."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def time(self, work: Work, cold: bool) -> tuple[float, float]:
        start = self._clock()
        state = work.forward()
        middle = self._clock()
        if work.backward is not None:
            work.backward(state)
        return 1e3 * (middle - start), 1e3 * (self._clock() - start)

    def workspace(self, work: Work) -> float | None:
        return None  # `footprint` measures it in another process


def new_clock(device: torch.device, cpu_time: bool) -> Clock:
    if device.type == "cuda":
        return DeviceClock()
    return HostClock(time.process_time if cpu_time else time.perf_counter)
