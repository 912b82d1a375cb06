"""What a program waited for a processor, as it is seen from outside; what it does to itself does not count."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from prorl_mega.sandbox import processor_time
from prorl_mega.sandbox.processor_time import ProcessorTime

GUEST, PROGRAM, OTHER = 1, 2, 3
SLICE_MS = 3
Behaviour = Callable[[float, float], bool]  # (second, seconds that the program has used): does the thread want to run?


@dataclass
class Processor:
    """One processor that threads share in turn, and what a kernel writes about it: waits when they are over."""

    threads: dict[int, tuple[int, Behaviour]]  # process and behaviour
    ran: dict[int, int] = field(default_factory=dict)  # milliseconds
    waited: dict[int, int] = field(default_factory=dict)
    since: dict[int, int] = field(default_factory=dict)  # when the thread came into the queue
    now: int = 0

    def used(self, pid: int) -> float:
        return sum(self.ran.get(thread, 0) for thread, (owner, _) in self.threads.items() if owner == pid) / 1000

    def turns(self) -> Iterator[None]:
        """A millisecond each."""
        for thread in itertools.cycle(self.threads):
            for _ in range(SLICE_MS):
                for each in filter(self._wants, self.threads):
                    self.since.setdefault(each, self.now)
                if self.since and thread not in self.since:
                    break
                if thread in self.since:  # it leaves the queue by running, in no other way
                    self.waited[thread] = self.waited.get(thread, 0) + self.now - self.since.pop(thread)
                    self.ran[thread] = self.ran.get(thread, 0) + 1
                    if self._wants(thread):
                        self.since[thread] = self.now + 1
                self.now += 1
                yield

    def _wants(self, thread: int) -> bool:
        owner, behaviour = self.threads[thread]
        return behaviour(self.now / 1000, self.used(owner))

    def seen(self, thread: int) -> tuple[int, bool]:
        return (self.ran.get(thread, 0) + self.waited.get(thread, 0)) * 1_000_000, thread in self.since


def always(second: float, used: float) -> bool:
    return True


def never(second: float, used: float) -> bool:
    return False


def naps(second: float, used: float) -> bool:
    return second % 0.02 < 0.002


def wakes_when_it_is_looked_at(second: float, used: float) -> bool:
    return second % 0.1 > 0.09


def until(most: float) -> Behaviour:
    return lambda second, used: used < most


def late(second: float, used: float) -> bool:
    return second > 0.45


def _starved(monkeypatch: pytest.MonkeyPatch, own: list[Behaviour], others: int, seconds: float = 2.0) -> ProcessorTime:
    threads = {GUEST: (GUEST, never)} | {10 + n: (PROGRAM, each) for n, each in enumerate(own)}
    processor = Processor(threads | {100 + n: (OTHER, always) for n in range(others)})
    monkeypatch.setattr(processor_time, "_thread", lambda pid, thread: processor.seen(thread))
    monkeypatch.setattr(processor_time, "_threads", lambda pid: [10 + n for n in range(len(own))])
    monkeypatch.setattr(processor_time, "_used", processor.used)
    monkeypatch.setattr(processor_time, "descendants", lambda pid: [PROGRAM])
    monkeypatch.setattr("time.monotonic_ns", lambda: processor.now * 1_000_000)
    total = ProcessorTime(GUEST)
    for _ in processor.turns():
        if processor.now % 100 == 0:
            total.look()
        if processor.now >= seconds * 1000:
            return total
    raise AssertionError


@pytest.mark.parametrize(
    "own",
    [
        [always],
        [never],
        [naps],
        [late],
        [always] * 8,
        [naps] * 16,
        [until(0.4)] * 24,
        [until(0.4)] * 24 + [never],
        [wakes_when_it_is_looked_at] * 32,
        [wakes_when_it_is_looked_at] * 4 + [naps] * 4,
    ],
)
def test_no_program_starves_itself(own: list[Behaviour], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _starved(monkeypatch, own, others=0).starved < 0.05


@pytest.mark.parametrize(("own", "others"), [([always], 1), ([always], 4), ([always], 60), ([never, always], 4)])
def test_a_program_that_others_keep_waiting_is_starved(
    own: list[Behaviour], others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = _starved(monkeypatch, own, others)
    assert total.used == pytest.approx(2.0 / (others + 1), abs=0.02)
    assert total.starved == pytest.approx(2.0 - total.used, abs=0.25)


def test_threads_of_a_starved_program_leave_it_what_others_took(monkeypatch: pytest.MonkeyPatch) -> None:
    total = _starved(monkeypatch, [always] * 4, others=12)
    assert total.starved == pytest.approx(2.0 - total.used, abs=0.25)


def test_a_sleeper_is_not_starved_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _starved(monkeypatch, [never], others=8).starved == 0.0


def test_this_kernel_counts() -> None:
    """A real program that shares its processor with three others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    spin = [sys.executable, "-S", "-c", "while True: pass"]
    try:
        total = ProcessorTime(os.getpid())
        spinning = [subprocess.Popen(spin) for _ in range(4)]
    finally:
        os.sched_setaffinity(0, before)
    try:
        began = time.monotonic()
        while time.monotonic() < began + 1.0:
            time.sleep(0.05)
            total.look()
        assert total.running
        assert total._most > 0.5e9
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_a_guest_that_is_gone_changes_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    total = ProcessorTime(process.pid)
    process.wait()
    total.look()
    assert (total.used, total.running) == (0.0, False)
