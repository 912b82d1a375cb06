"""Memory of one repetition on a CPU, measured in a process of its own.

It is the process's resident set, which counts what libraries allocate as well. In a process that has done other
things it would depend on these: glibc keeps freed blocks of up to 32 MiB and cuts later ones out of them, so that the
same call was seen to take 19 MiB first and 50 MiB after others. In a fresh process in which every block from 64 KiB
on is mapped when it is allocated and given back when it is freed, the result does not depend on the order.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from prorl_kernels.benchmarks.cases import MODELS, MODES, Case
from prorl_kernels.benchmarks.problem import new_problem
from prorl_kernels.benchmarks.work import Work, bytes_of, work_of

MIB = 1 << 20
MAPPED = 64 << 10  # bytes of a block from which on it is mapped
SECONDS = 900  # of all providers of a case


def workspaces(case: Case, providers: list[str]) -> dict[str, float]:
    """MiB beyond inputs, statistics and gradients, by provider; without those for which it could not be measured."""
    asked = {"model": case.model.name, "tokens": case.tokens, "mode": case.mode.name, "ranks": case.ranks}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": str(MAPPED)}
    command = [sys.executable, "-m", "prorl_kernels.benchmarks.footprint", json.dumps(asked), *providers]
    try:
        output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.split("\t") for line in output.stdout.splitlines() if line.count("\t") == 1)
    return {name: float(value) for name, value in lines}


def workspace(work: Work) -> float:
    """Of this process, by its high-water mark, which Linux lets a process reset. OSError elsewhere."""
    _give_back_free_memory()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    state = work.forward()
    kept = bytes_of(state)
    if work.backward is not None:
        kept += bytes_of(work.backward(state))
    return max(0, _status("VmHWM") - before - kept) / MIB


def _give_back_free_memory() -> None:
    """Blocks too small to be mapped."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(field: str) -> int:
    """Bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    """Prints a line per provider: its name, a tab, MiB."""
    from prorl_kernels.benchmarks.registry import PROVIDERS

    asked = json.loads(sys.argv[1])
    case = Case(model=MODELS[asked["model"]], tokens=asked["tokens"], mode=MODES[asked["mode"]], ranks=asked["ranks"])
    torch.manual_seed(0)
    problem = new_problem(case, torch.device("cpu"), torch.float32)
    for provider in PROVIDERS:
        if provider.name in sys.argv[2:]:
            work = work_of(provider.load(), problem, case.mode)
            workspace(work)  # the first call compiles, and libraries keep buffers
            print(f"{provider.name}\t{workspace(work):.2f}", flush=True)


if __name__ == "__main__":
    main()
