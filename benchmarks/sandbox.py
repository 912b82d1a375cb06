"""Short programs: bare processes against every sandbox of this machine. `python benchmarks/sandbox.py`.

Processor time per program is what the bound of twice a bare process is about: it does not depend on what else the
machine does. Programs per second do.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Limits, script
from prorl_mega.sandbox.pool import Sandbox, try_tier
from prorl_mega.sandbox.processor_time import descendants

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
COUNT = 500
ROUNDS = 3  # the best one counts: other work on the machine only ever slows down


def main() -> None:
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "program.py"
        path.write_text(PROGRAM)
        command = [os.path.realpath(sys.executable), "-I", "-S", str(path)]

        def bare(_: int) -> bytes:
            return subprocess.run(command, input=b"1 2\n", capture_output=True, env={}, check=True).stdout

        with ThreadPoolExecutor(workers) as pool:
            _report("bare process", workers, lambda: list(pool.map(bare, range(COUNT))), lambda: 0.0)
    for tier in (IsolationTier.BUBBLEWRAP, IsolationTier.LANDLOCK):
        spec, reason = try_tier(tier)
        if spec is None:
            print(f"{tier.value:14} not run: {reason}")
            continue
        with Sandbox(spec, size=workers) as sandbox:
            sandbox.warm()
            _measure(tier, sandbox, workers)


def _measure(tier: IsolationTier, sandbox: Sandbox, workers: int) -> None:
    runs = [script(PROGRAM, "1 2\n", Limits())] * COUNT
    _report(tier.value, workers, lambda: sandbox.run(runs), lambda: _spent(sandbox.processes()))


def _report(name: str, workers: int, work: Callable[[], object], spent_elsewhere: Callable[[], float]) -> None:
    seconds, processor = [], []
    for _ in range(ROUNDS):
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        used = -spent_elsewhere() - sum(each.ru_utime + each.ru_stime for each in usage)
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        processor.append(used + spent_elsewhere() + sum(each.ru_utime + each.ru_stime for each in usage))
    each, rate = 1000 * min(processor) / COUNT, COUNT / min(seconds)
    print(f"{name:14} {each:5.1f} ms of processor time each, {rate:5.0f} programs/s on {workers} cores")


def _spent(pids: list[int]) -> float:
    """Processor time of running processes, all below them, and the children of these that have ended."""
    ticks = 0
    for pid in [*pids, *(below for each in pids for below in descendants(each))]:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
