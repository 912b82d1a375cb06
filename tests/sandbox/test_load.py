"""The sandbox for minutes: at full load, and ten thousand times."""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.honest_programs import HONEST
from helpers.hostile_programs import FUNCTIONS
from helpers.sandboxes import sandbox_of

from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, ProgramRun, call, script
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.sandbox.processor_time import descendants

pytestmark = pytest.mark.faults
CORES = sorted(os.sched_getaffinity(0))
SHORT = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.fixture(params=list(IsolationTier)[:2])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_of(request.param, size=len(CORES)) as sandbox:
        sandbox.warm()
        yield sandbox


@contextlib.contextmanager
def full_load() -> Iterator[None]:
    """Every core is busy with something else, at the priority of the sandbox."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in CORES]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_a_thousand_honest_programs_at_full_load(sandbox: Sandbox) -> None:
    programs = list(itertools.islice(itertools.cycle(HONEST), 1000))
    with full_load():
        results = sandbox.run([script(source, stdin, Limits()) for source, stdin, _ in programs])
    failed = [
        (source, result)
        for (source, _, output), result in zip(programs, results, strict=True)
        if (result.ending, result.stdout.decode()) != (Ending.FINISHED, output)
    ]
    assert not failed
    assert sandbox.counters.failures == sandbox.counters.infra_errors == 0


def test_ten_thousand_runs_leave_nothing_behind(sandbox: Sandbox) -> None:
    """Honest ones, and every twentieth breaks something."""
    functions = itertools.cycle(source for name, source in FUNCTIONS.items() if "sleep" not in name)
    brief = Limits(cpu_s=0.2, wall_s=0.3, memory=256 << 20, output=1 << 16)
    runs: list[ProgramRun] = []
    for number in range(10_000):
        breaks = number % 20 == 19
        runs.append(call(next(functions), "f", ["x"], brief) if breaks else script(SHORT, f"{number} 1\n", Limits()))
    before, memory = _state(), 0
    for start in range(0, len(runs), 1000):
        results = sandbox.run(runs[start : start + 1000])
        honest = [(start + i, result) for i, result in enumerate(results) if i % 20 != 19]
        assert [(n, r) for n, r in honest if r.stdout != b"%d\n" % (n + 1)] == []
        assert not [result for result in results if result.ending is Ending.INFRA_ERROR]
        memory = memory or _resident()
    after = _state()
    assert after[0] <= before[0] + 2 * len(CORES)  # sandboxes that were killed last may start again later
    assert after[1:] == before[1:]
    assert all(len(descendants(pid)) <= 1 for pid in sandbox.processes())
    assert _resident() < memory + (64 << 20)


def _state() -> tuple[int, int, int, list[str]]:
    """Descriptors, children, mounts, files for temporary use."""
    mounts = Path("/proc/self/mountinfo").read_text().count("\n")
    children = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return len(os.listdir("/proc/self/fd")), children, mounts, sorted(os.listdir("/mnt"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
