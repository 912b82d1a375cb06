"""Sandboxes kept warm, and runs handed out to them.

A sandbox whose run has ended by itself is used again: only its trusted parent process survives a run. A sandbox whose
run had to be killed is killed as a whole and replaced. What fails for reasons of the sandbox is tried again in a new
one, and is an INFRA_ERROR when that does not help: never a verdict about the program.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.isolation import Launch, Tier, launches
from prorl_mega.sandbox.job import Ending, Kind, Result, Run
from prorl_mega.sandbox.process import Cell, CellError

ATTEMPTS = 3  # of a run whose sandbox fails
BEAT_S = 1.0
REMEDY = (
    "install bubblewrap and allow unprivileged user name-spaces (sysctl user.max_user_namespaces, "
    "kernel.apparmor_restrict_unprivileged_userns), or use a kernel with Landlock (5.13 or newer)"
)


@dataclass(kw_only=True, slots=True)
class _Job:
    index: int
    run: Run
    attempts: int = 0
    why: str = ""


@dataclass(kw_only=True, slots=True)
class Counters:
    """Totals since the pool was made."""

    runs: int = 0
    started: int = 0  # sandboxes
    killed: int = 0  # runs that did not end by themselves
    failures: int = 0  # of sandboxes
    infra_errors: int = 0


class Sandbox:
    """At most `size` programs at a time, each behind the walls of `launch`. Belongs to one thread."""

    def __init__(self, launch: Launch, *, size: int = 1) -> None:
        assert size >= 1
        self.launch, self._size = launch, size
        self._cells: list[Cell] = []
        self._failed_starts = 0  # in a row
        self.counters = Counters()
        self.waiting: Callable[[], None] = lambda: None  # called about every `BEAT_S` while programs run

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill all sandboxes. A later run starts new ones."""
        while self._cells:
            self._cells.pop().kill()

    def processes(self) -> list[int]:
        """The process that each sandbox was started as; the others are below it."""
        return [cell.process.pid for cell in self._cells]

    def warm(self) -> None:
        """Start all sandboxes ahead of the first run."""
        self.run([Run(kind=Kind.SCRIPT, job={"source": ""})] * self._size)

    def run(self, runs: Sequence[Run]) -> list[Result]:
        """One result per run, in order. Never raises for what a program does."""
        queue = deque(_Job(index=index, run=run) for index, run in enumerate(runs))
        results: dict[int, Result] = {}
        working: dict[Cell, _Job] = {}
        self.counters.runs += len(runs)
        try:
            while len(results) < len(runs):
                self._hand_out(queue, working, results)
                for cell, result in self._wait():
                    if cell in working:
                        self._settle(working.pop(cell), result, queue, results)
                    elif queue and self._failed_starts >= ATTEMPTS and not any(each.ready for each in self._cells):
                        results[queue.popleft().index] = result
                        self.counters.infra_errors += 1
        except BaseException:
            self.close()
            raise
        return [results[index] for index in range(len(runs))]

    def converse(self, program: Run, tests: Run) -> tuple[Result, Result]:
        """A SERVE and a TESTS run at once, each in its own sandbox, with pipes between them."""
        pair = (program, tests)
        self.counters.runs += 2
        for _ in range(ATTEMPTS):
            results = self._converse(pair)
            if all(result.ending is not Ending.INFRA_ERROR for result in results):
                break
        self.counters.infra_errors += sum(result.ending is Ending.INFRA_ERROR for result in results)
        return results

    def _converse(self, pair: tuple[Run, Run]) -> tuple[Result, Result]:
        results: dict[int, Result] = {}
        try:
            cells = [self._ready(index) for index in range(2)]
            requests, replies = os.pipe(), os.pipe()  # of the tests, of the program
            try:
                cells[0].start(pair[0], stdin=requests[0], result=replies[1], partner=cells[1])
                cells[1].start(pair[1], stdin=replies[0], result=requests[1], partner=cells[0])
            finally:
                for descriptor in (*requests, *replies):
                    os.close(descriptor)
            while len(results) < 2:
                for cell, result in self._wait():
                    if cell in cells and result is not None:
                        results[cells.index(cell)] = result
        except CellError as error:
            self.counters.failures += 1
            self.close()
            missing = Result(ending=Ending.INFRA_ERROR, detail=str(error))
            return results.get(0, missing), missing
        except BaseException:
            self.close()
            raise
        return results[0], results[1]

    def _ready(self, index: int) -> Cell:
        """The sandbox number `index`, idle. Raises CellError."""
        while len(self._cells) <= index:
            self._start()
        cell = self._cells[index]
        while not cell.ready:
            if cell not in self._cells:
                raise CellError("a sandbox did not start")
            self._wait()
        return cell

    def _start(self) -> Cell:
        cell = Cell(self.launch)
        self.counters.started += 1
        self._cells.append(cell)
        return cell

    def _hand_out(self, queue: deque[_Job], working: dict[Cell, _Job], results: dict[int, Result]) -> None:
        for cell in list(self._cells):
            if queue and cell.ready and cell.run is None:
                working[cell] = queue.popleft()
                try:
                    cell.start(working[cell].run)
                except CellError as error:
                    self._discard(cell)
                    self._settle(working.pop(cell), _infra(str(error)), queue, results)
        starting = sum(not cell.ready for cell in self._cells)
        while queue and len(self._cells) < self._size and len(queue) > starting:
            try:
                self._start()
                starting += 1
            except CellError as error:
                self._settle(queue.popleft(), _infra(str(error)), queue, results)

    def _wait(self) -> list[tuple[Cell, Result]]:
        """Results that have come in, after waiting for the first event; late runs are killed."""
        events: list[tuple[Cell, Result]] = []
        poll = select.poll()
        by_descriptor = {cell.control.fileno(): cell for cell in self._cells}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        busy = [cell.deadline for cell in self._cells if cell.run is not None or not cell.ready]
        wait = max(0.0, min(busy) - time.monotonic()) if busy else 0.0
        ready = poll.poll(math.ceil(min(wait, BEAT_S) * 1000))
        if not ready:
            self.waiting()
        for descriptor, _ in ready:
            cell = by_descriptor[descriptor]
            try:
                result = cell.receive()
            except CellError as error:
                self._discard(cell)
                self.counters.failures += 1
                result = _infra(str(error))
            if cell.ready:
                self._failed_starts = 0
            if result is not None:
                events.append((cell, result))
        now = time.monotonic()
        for cell in list(self._cells):
            if (why := cell.overdue(now)) is not None:
                events.append((cell, self._late(cell, why)))
        return events

    def _late(self, cell: Cell, why: str) -> Result:
        ready = cell.ready
        self._discard(cell)
        self.counters.killed += 1
        return Result(ending=Ending.TIME_LIMIT, detail=why) if ready else _infra(why)

    def _discard(self, cell: Cell) -> None:
        self._failed_starts += not cell.ready
        self._cells.remove(cell)
        cell.kill()

    def _settle(self, job: _Job, result: Result, queue: deque[_Job], results: dict[int, Result]) -> None:
        job.attempts += 1
        if result.ending is Ending.INFRA_ERROR and job.attempts < ATTEMPTS:
            queue.append(job)
            return
        self.counters.infra_errors += result.ending is Ending.INFRA_ERROR
        results[job.index] = result


def _infra(detail: str) -> Result:
    return Result(ending=Ending.INFRA_ERROR, detail=detail)


def find(*, allow_unconfined: bool = False) -> Launch:
    """The strongest walls that work here. Raises ConfigError when there are none and running without is not allowed."""
    reasons = []
    for tier in (Tier.BUBBLEWRAP, Tier.LANDLOCK):
        launch, reason = try_tier(tier)
        if launch is not None:
            return launch
        reasons.append(f"{tier.value}: {reason}")
    if allow_unconfined:
        return launches(Tier.UNCONFINED)[0]
    raise ConfigError(
        f"this machine cannot confine programs that a model wrote ({'; '.join(reasons)}). To train on code, {REMEDY}"
    )


def try_tier(tier: Tier) -> tuple[Launch | None, str]:
    """A way to start sandboxes of this tier that has just worked, or why there is none."""
    reason = "bwrap is not installed" if tier is Tier.BUBBLEWRAP else "no table of system calls for this machine"
    for launch in launches(tier):
        with Sandbox(launch) as sandbox:
            (result,) = sandbox.run([Run(kind=Kind.SCRIPT, job={"source": "print(input())"}, stdin=b"42\n")])
        if result.ending is Ending.FINISHED and result.stdout == b"42\n":
            return launch, ""
        reason = result.detail or result.ending.value
    return None, " ".join(reason.split())
