"""Time of one repetition, on a GPU by events and on a CPU by a clock; memory by the GPU's allocator."""

from __future__ import annotations

import time
from typing import Any

import torch

from prorl_kernels.benchmarks.work import Work, bytes_of

FLUSH_BYTES = 256 << 20  # more than any L2 cache
MIB = 1 << 20


class Clock:
    """On a CPU the wall clock, or the process's (all threads together) on a machine with other work. On a GPU work that
    the host launches too slowly counts, as it does in use."""

    def __init__(self, device: torch.device, cpu_time: bool) -> None:
        self.timer = "events" if device.type == "cuda" else "process time" if cpu_time else "wall clock"
        self._now = time.process_time if cpu_time else time.perf_counter
        self._flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=device) if device.type == "cuda" else None

    def time(self, work: Work, cold: bool) -> tuple[float, float]:
        """Milliseconds of the forward pass and of both passes."""
        if cold and self._flush is not None:
            self._flush.fill_(1)
        start = self._mark()
        state = work.forward()
        middle = self._mark()
        if work.backward is not None:
            work.backward(state)
        end = self._mark()
        if self._flush is None:
            return 1e3 * (middle - start), 1e3 * (end - start)
        end.synchronize()
        return start.elapsed_time(middle), start.elapsed_time(end)

    def _mark(self) -> Any:
        if self._flush is None:
            return self._now()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def workspace(self, work: Work) -> float | None:
        """Highest memory in use during one repetition beyond inputs, statistics and gradients, in MiB; None on a CPU,
        where `footprint` measures it in another process."""
        if self._flush is None:
            return None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        kept = bytes_of(work.run())
        torch.cuda.synchronize()
        return max(0, torch.cuda.max_memory_allocated() - before - kept) / MIB
