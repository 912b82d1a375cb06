"""A pool of warm sandboxes that runs are handed out to.

A sandbox whose run has ended by itself is used again: only its trusted parent process survives a run. A sandbox whose
run had to be killed is killed as a whole and replaced. A run that fails because of its sandbox is tried again in a new
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

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec, sandbox_specs
from prorl_mega.sandbox.job import Ending, ProgramKind, ProgramResult, ProgramRun
from prorl_mega.sandbox.process import SandboxError, SandboxWorker

ATTEMPTS = 3  # of a run whose sandbox fails
BEAT_S = 1.0
REMEDY = (
    "install bubblewrap and allow unprivileged user name-spaces (sysctl user.max_user_namespaces, "
    "kernel.apparmor_restrict_unprivileged_userns), or use a kernel with Landlock (5.13 or newer)"
)


_NO_RESULT = ProgramResult(ending=Ending.INFRA_ERROR, detail="not run")


@dataclass(kw_only=True, slots=True)
class _Job:
    run: ProgramRun
    attempts: int = 0
    result: ProgramResult = _NO_RESULT


@dataclass(kw_only=True, slots=True)
class SandboxCounters:
    """Totals since the pool was made."""

    runs: int = 0
    started: int = 0  # sandboxes
    killed: int = 0  # runs that did not end by themselves
    failures: int = 0  # of sandboxes
    infra_errors: int = 0


class Sandbox:
    """At most `size` programs at a time, each isolated as `spec` says. Belongs to one thread."""

    def __init__(self, spec: SandboxSpec, *, size: int = 1) -> None:
        assert size >= 1
        self.spec, self._size = spec, size
        self._workers: list[SandboxWorker] = []
        self._failed_starts = 0  # in a row
        self.counters = SandboxCounters()
        self.waiting: Callable[[], None] = lambda: None  # called about every `BEAT_S` while programs run

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all sandboxes. A later run starts new ones."""
        while self._workers:
            self._workers.pop().kill()

    def processes(self) -> list[int]:
        """The process that each sandbox was started as; the others are below it."""
        return [worker.process.pid for worker in self._workers]

    def warm(self) -> None:
        """Start all sandboxes ahead of the first run."""
        self.run([ProgramRun(kind=ProgramKind.SCRIPT, job={"source": ""})] * self._size)

    def run(self, runs: Sequence[ProgramRun]) -> list[ProgramResult]:
        """One result per run, in order. Never raises for what a program does."""
        jobs = [_Job(run=run) for run in runs]
        queue, working = deque(jobs), dict[SandboxWorker, _Job]()
        self.counters.runs += len(runs)
        try:
            while queue or working:
                self._hand_out(queue, working)
                for worker, result in self._wait():
                    if worker in working:
                        self._resolve(working.pop(worker), result, queue)
                    elif queue and self._failed_starts >= ATTEMPTS and not any(each.ready for each in self._workers):
                        queue.popleft().result = result
                        self.counters.infra_errors += 1
        except BaseException:
            self.close()
            raise
        return [job.result for job in jobs]

    def converse(self, program: ProgramRun, tests: ProgramRun) -> tuple[ProgramResult, ProgramResult]:
        """A SERVE and a TESTS run at once, each in its own sandbox, with pipes between them."""
        pair = (program, tests)
        self.counters.runs += 2
        for _ in range(ATTEMPTS):
            results = self._converse(pair)
            if all(result.ending is not Ending.INFRA_ERROR for result in results):
                break
        self.counters.infra_errors += sum(result.ending is Ending.INFRA_ERROR for result in results)
        return results

    def _converse(self, pair: tuple[ProgramRun, ProgramRun]) -> tuple[ProgramResult, ProgramResult]:
        results: dict[int, ProgramResult] = {}
        try:
            workers = [self._ready(index) for index in range(2)]
            requests, replies = os.pipe(), os.pipe()  # of the tests, of the program
            try:
                workers[0].start(pair[0], stdin=requests[0], result=replies[1], partner=workers[1])
                workers[1].start(pair[1], stdin=replies[0], result=requests[1], partner=workers[0])
            finally:
                for descriptor in (*requests, *replies):
                    os.close(descriptor)
            while len(results) < 2:
                for worker, result in self._wait():
                    if worker in workers and result is not None:
                        results[workers.index(worker)] = result
        except SandboxError as error:
            self.counters.failures += 1
            self.close()
            missing = _infra_error(str(error))
            return results.get(0, missing), missing
        except BaseException:
            self.close()
            raise
        return results[0], results[1]

    def _ready(self, index: int) -> SandboxWorker:
        """The sandbox number `index`, idle. Raises CellError."""
        while len(self._workers) <= index:
            self._start()
        worker = self._workers[index]
        while not worker.ready:
            if worker not in self._workers:
                raise SandboxError("a sandbox did not start")
            self._wait()
        return worker

    def _start(self) -> SandboxWorker:
        worker = SandboxWorker(self.spec)
        self.counters.started += 1
        self._workers.append(worker)
        return worker

    def _hand_out(self, queue: deque[_Job], working: dict[SandboxWorker, _Job]) -> None:
        for worker in list(self._workers):
            if queue and worker.ready and worker.run is None:
                job = queue.popleft()
                try:
                    worker.start(job.run)
                    working[worker] = job
                except SandboxError as error:
                    self._discard(worker)
                    self._resolve(job, _infra_error(str(error)), queue)
        starting = sum(not worker.ready for worker in self._workers)
        while queue and len(self._workers) < self._size and len(queue) > starting:
            try:
                self._start()
                starting += 1
            except SandboxError as error:
                self._resolve(queue.popleft(), _infra_error(str(error)), queue)

    def _wait(self) -> list[tuple[SandboxWorker, ProgramResult]]:
        """Results that have come in, after waiting for the first event; late runs are killed."""
        events: list[tuple[SandboxWorker, ProgramResult]] = []
        poll = select.poll()
        by_descriptor = {worker.control.fileno(): worker for worker in self._workers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        busy = [worker.deadline for worker in self._workers if worker.run is not None or not worker.ready]
        wait = max(0.0, min(busy) - time.monotonic()) if busy else 0.0
        ready = poll.poll(math.ceil(min(wait, BEAT_S) * 1000))
        if not ready:
            self.waiting()
        for descriptor, _ in ready:
            worker = by_descriptor[descriptor]
            try:
                result = worker.receive()
            except SandboxError as error:
                self._discard(worker)
                self.counters.failures += 1
                result = _infra_error(str(error))
            if worker.ready:
                self._failed_starts = 0
            if result is not None:
                events.append((worker, result))
        now = time.monotonic()
        for worker in list(self._workers):
            if (why := worker.overdue(now)) is not None:
                events.append((worker, self._late(worker, why)))
        return events

    def _late(self, worker: SandboxWorker, why: str) -> ProgramResult:
        ready = worker.ready
        self._discard(worker)
        self.counters.killed += 1
        return ProgramResult(ending=Ending.TIME_LIMIT, detail=why) if ready else _infra_error(why)

    def _discard(self, worker: SandboxWorker) -> None:
        self._failed_starts += not worker.ready
        self._workers.remove(worker)
        worker.kill()

    def _resolve(self, job: _Job, result: ProgramResult, queue: deque[_Job]) -> None:
        """Keep a result, or queue the run again when the sandbox failed and attempts are left."""
        job.attempts += 1
        job.result = result
        if result.ending is Ending.INFRA_ERROR:
            if job.attempts < ATTEMPTS:
                queue.append(job)
            else:
                self.counters.infra_errors += 1


def _infra_error(detail: str) -> ProgramResult:
    return ProgramResult(ending=Ending.INFRA_ERROR, detail=detail)


def find(*, allow_unconfined: bool = False) -> SandboxSpec:
    """The strongest isolation that works here. Raises ConfigError when none does and `allow_unconfined` is not set."""
    reasons = []
    for tier in (IsolationTier.BUBBLEWRAP, IsolationTier.LANDLOCK):
        spec, reason = try_tier(tier)
        if spec is not None:
            return spec
        reasons.append(f"{tier.value}: {reason}")
    if allow_unconfined:
        return sandbox_specs(IsolationTier.UNCONFINED)[0]
    raise ConfigError(
        f"this machine cannot confine programs that a model wrote ({'; '.join(reasons)}). To train on code, {REMEDY}"
    )


def try_tier(tier: IsolationTier) -> tuple[SandboxSpec | None, str]:
    """A way to start sandboxes of this tier that has just worked, or why there is none."""
    reason = (
        "bwrap is not installed" if tier is IsolationTier.BUBBLEWRAP else "no table of system calls for this machine"
    )
    for spec in sandbox_specs(tier):
        with Sandbox(spec) as sandbox:
            (result,) = sandbox.run(
                [ProgramRun(kind=ProgramKind.SCRIPT, job={"source": "print(input())"}, stdin=b"42\n")]
            )
        if result.ending is Ending.FINISHED and result.stdout == b"42\n":
            return spec, ""
        reason = result.detail or result.ending.value
    return None, " ".join(reason.split())
