"""A pool of warm sandboxes, to which runs are assigned.

A sandbox whose run has ended by itself is used again: only its trusted parent process survives a run. A sandbox whose
run had to be killed is killed as a whole and replaced; one that does not even die is abandoned, counted and reported.
A run that fails because of its sandbox is tried again in a new one, and is an INFRA_ERROR if that fails as well: never
a verdict about the program.
"""

from __future__ import annotations

import contextlib
import math
import select
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.isolation import IsolationTier, SandboxSpec, sandbox_specs
from prorl_mega.sandbox.job import Ending, ProgramKind, ProgramResult, ProgramRun
from prorl_mega.sandbox.process import SandboxError, SandboxWorker, start_together

ATTEMPTS = 3  # of a run whose sandbox fails
BEAT_S = 1.0
REMEDY = (
    "install bubblewrap and allow unprivileged user name-spaces (sysctl user.max_user_namespaces, "
    "kernel.apparmor_restrict_unprivileged_userns), or use a kernel with Landlock (5.13 or newer)"
)


@dataclass(kw_only=True, slots=True)
class _Job:
    """One run, or a program and its tests, which run at the same time with pipes between them."""

    runs: tuple[ProgramRun, ...]
    attempts: int = 0
    results: dict[int, ProgramResult] = field(default_factory=dict)  # by position in `runs`


@dataclass(kw_only=True, slots=True)
class SandboxCounters:
    """Totals since the pool was made."""

    killed: int = 0  # runs that did not end by themselves
    abandoned: int = 0  # sandboxes that were killed and did not end
    failures: int = 0  # of sandboxes
    infra_errors: int = 0


class Sandbox(contextlib.AbstractContextManager["Sandbox"]):
    """At most `size` programs at a time, each isolated as `spec` says. Belongs to one thread."""

    def __init__(self, spec: SandboxSpec, *, size: int = 1) -> None:
        assert size >= 1
        self.spec, self._size = spec, size
        self._workers: list[SandboxWorker] = []
        self._dying: list[SandboxWorker] = []
        self._failed_starts = 0  # in a row
        self._next_beat = 0.0
        self.counters = SandboxCounters()
        self.waiting: Callable[[], None] = lambda: None  # called about every `BEAT_S` while programs run

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all sandboxes. A later run starts new ones."""
        while self._workers:
            self._kill(self._workers[-1])
        while remains := self._bury():
            select.select(remains, [], [], BEAT_S / 10)

    def processes(self) -> list[int]:
        """The process that each sandbox was started as; the others are below it."""
        return [worker.process.pid for worker in self._workers]

    def warm(self) -> None:
        """Start all sandboxes ahead of the first run."""
        self.run([ProgramRun(kind=ProgramKind.SCRIPT, job={"source": ""})] * self._size)

    def run(self, runs: Sequence[ProgramRun]) -> list[ProgramResult]:
        """One result per run, in order. Never raises for what a program does."""
        return [job.results[0] for job in self._run([_Job(runs=(run,)) for run in runs])]

    def converse(self, program: ProgramRun, tests: ProgramRun) -> tuple[ProgramResult, ProgramResult]:
        """A SERVE and a TESTS run at once, each in its own sandbox, with pipes between them."""
        (job,) = self._run([_Job(runs=(program, tests))])
        return job.results[0], job.results[1]

    def _run(self, jobs: list[_Job]) -> list[_Job]:
        queue, working = deque(jobs), dict[SandboxWorker, tuple[_Job, int]]()
        self._next_beat = time.monotonic() + BEAT_S
        try:
            while queue or working:
                self._hand_out(queue, working)
                for worker, result in self._wait():
                    if worker in working:
                        self._resolve(*working.pop(worker), result, queue)
                    elif queue and self._failed_starts >= ATTEMPTS and not any(each.ready for each in self._workers):
                        self._fail(queue, result, retry=False)
        except BaseException:
            self.close()
            raise
        return jobs

    def _hand_out(self, queue: deque[_Job], working: dict[SandboxWorker, tuple[_Job, int]]) -> None:
        """Start the jobs for which sandboxes are idle, and sandboxes for those that still wait."""
        idle = [worker for worker in self._workers if worker.ready and worker.run is None]
        while queue and len(idle) >= len(queue[0].runs):
            job = queue.popleft()
            workers = [idle.pop() for _ in job.runs]
            working.update({worker: (job, index) for index, worker in enumerate(workers)})
            for worker, error in start_together(workers, job.runs):
                self._discard(worker)
                self._resolve(*working.pop(worker), _infra_error(str(error)), queue)
        starting = sum(not worker.ready for worker in self._workers)
        while queue and starting < len(queue) * (needed := len(queue[0].runs)):
            if len(self._workers) + len(self._dying) >= max(self._size, needed):
                break
            try:
                self._workers.append(SandboxWorker(self.spec))
                starting += 1
            except SandboxError as error:
                self._fail(queue, _infra_error(str(error)))

    def _wait(self) -> list[tuple[SandboxWorker, ProgramResult]]:
        """Finished results, after waiting for the first event; late runs are killed."""
        events: list[tuple[SandboxWorker, ProgramResult]] = []
        poll = select.poll()
        by_descriptor = {worker.control.fileno(): worker for worker in self._workers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        for descriptor in self._bury():
            poll.register(descriptor, select.POLLIN)
        busy = [worker.deadline for worker in self._workers if worker.run is not None or not worker.ready]
        busy += [worker.deadline for worker in self._dying]
        wait = max(0.0, min(busy) - time.monotonic()) if busy else 0.0
        ready = poll.poll(math.ceil(min(wait, BEAT_S) * 1000))
        if (now := time.monotonic()) >= self._next_beat:
            self.waiting()
            self._next_beat = now + BEAT_S
        for worker in [by_descriptor[descriptor] for descriptor, _ in ready if descriptor in by_descriptor]:
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
        self._kill(worker)

    def _kill(self, worker: SandboxWorker) -> None:
        self._workers.remove(worker)
        worker.kill()
        self._dying.append(worker)

    def _bury(self) -> list[int]:
        """Forget killed sandboxes that have ended, or should have. Returns descriptors that report ends of others."""
        remains = []
        for worker in self._dying[:]:
            left = worker.remains()
            if left and time.monotonic() >= worker.deadline:
                self.counters.abandoned += 1
                warnings.warn(f"{len(left)} processes of a sandbox do not die: abandoned", stacklevel=2)
                worker.abandon()
                left = []
            if not left:
                self._dying.remove(worker)
            remains += left
        return remains

    def _resolve(self, job: _Job, index: int, result: ProgramResult, queue: deque[_Job]) -> None:
        job.results[index] = result
        if len(job.results) == len(job.runs):
            self._finish(job, queue)

    def _fail(self, queue: deque[_Job], result: ProgramResult, *, retry: bool = True) -> None:
        """Fail the next job, for which there is no sandbox."""
        job = queue.popleft()
        job.results = dict.fromkeys(range(len(job.runs)), result)
        self._finish(job, queue, retry=retry)

    def _finish(self, job: _Job, queue: deque[_Job], *, retry: bool = True) -> None:
        """Queue a job whose sandbox failed again while attempts are left; the results of others are final."""
        job.attempts += 1
        failed = sum(result.ending is Ending.INFRA_ERROR for result in job.results.values())
        if failed and retry and job.attempts < ATTEMPTS:
            job.results = {}
            queue.append(job)
        else:
            self.counters.infra_errors += failed


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
    """A tested way to start sandboxes of this tier, or None and the reason."""
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
