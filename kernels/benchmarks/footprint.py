"""Memory of one repetition on a CPU, measured in a process of its own.

It is the process's resident set, which includes allocations of libraries. In a process that has done other things it
would depend on these: glibc keeps freed blocks of up to 32 MiB and cuts later ones out of them, so that the
same call was seen to take 19 MiB first and 50 MiB after others. In a fresh process in which every block from 64 KiB
on is mapped when it is allocated and given back when it is freed, the result does not depend on the order.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import torch

from prorl_kernels.benchmarks.cases import GRIDS, Case
from prorl_kernels.benchmarks.problem import new_problem
from prorl_kernels.benchmarks.work import MIB, Work, bytes_of, work_of

MAPPED = 64 << 10  # blocks of at least this many bytes are mapped
SECONDS = 900  # for all providers of a case


def workspaces(case: Case, providers: list[str]) -> dict[str, float]:
    """MiB beyond inputs, statistics and gradients, by provider; without those for which it could not be measured."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": str(MAPPED)}
    command = [sys.executable, "-m", "prorl_kernels.benchmarks.footprint", case.name, *providers]
    try:
        output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.split("\t") for line in output.stdout.splitlines() if line.count("\t") == 1)
    return {name: float(value) for name, value in lines}


def workspace(work: Work) -> float:
    """MiB of one repetition in this process, by its high-water mark, which Linux lets a process reset; else OSError."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)  # gives back blocks too small to be mapped
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    kept = bytes_of(work.run())
    return max(0, _status("VmHWM") - before - kept) / MIB


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Print a line per provider: its name, a tab, MiB."""
    from prorl_kernels.benchmarks.registry import PROVIDERS

    case = next(case for grid in GRIDS.values() for case in grid if case.name == sys.argv[1])
    torch.manual_seed(0)
    problem = new_problem(case, torch.device("cpu"))
    for provider in PROVIDERS:
        if provider.name in sys.argv[2:]:
            work = work_of(provider.load(), problem, case.mode)
            workspace(work)  # the first call compiles, and libraries keep buffers
            print(f"{provider.name}\t{workspace(work):.2f}", flush=True)


if __name__ == "__main__":
    main()
