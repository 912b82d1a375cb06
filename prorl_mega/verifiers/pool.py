"""Scoring in worker processes that are killed when they hang.

The pool is a single-threaded loop over pipes that its caller drives: `PoolBatch.poll` does what needs no waiting, so
that answers are scored while other things go on, and `PoolBatch.wait` waits for the rest. A worker gets a chunk of
answers and returns one verdict after the other; the clock of an answer starts when the verdict before it has arrived. A
worker that is late, dies, or sends an invalid message is killed, the answer that it was working on is tried again in
another worker, and the rest of its chunk goes back to the queue. An answer that uses up its attempts is an
infrastructure error: nothing is known about it and it never becomes a reward. On a busy machine, a worker that is ready
to run and gets no processor is given up to `PATIENCE` times as long.

At most `CHUNK` answers per worker are under way; the others wait as references to the texts that the caller holds
anyway. Adding an answer therefore never waits: slow verifiers must not stop an engine.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

from prorl_mega.config.schema import TasksConfig
from prorl_mega.sandbox.channel import BrokenMessageError, encode
from prorl_mega.tasks import extension
from prorl_mega.tasks.second_opinion import verifier_class
from prorl_mega.types import Problem, Scoring, Verdict
from prorl_mega.verifiers.audit import Say, VerdictAudit
from prorl_mega.verifiers.batch import CHUNK, Answers
from prorl_mega.verifiers.messages import VerdictMessage, WorkerReply, WorkerRequest, WorkerSetup, infra_error
from prorl_mega.verifiers.process import STARTUP_S, VerifierWorker

RECYCLE = 20_000  # answers, then a worker is replaced: libraries leak
MAX_FAILED_STARTS = 3  # in a row, then the remaining answers of a batch are given up


class PoolBatch(Answers):
    """Implements `protocols.Batch`; made by `VerifierPool.batch`."""

    def __init__(self, attempts: int, turn: Callable[[PoolBatch, float], None]) -> None:
        """An empty batch; `turn(batch, seconds)` makes progress, and waits so long for an event if there is none."""
        super().__init__(attempts)
        self._turn = turn

    def poll(self) -> None:
        if self.unfinished:
            self._turn(self, 0.0)

    def wait(self, seconds: float) -> bool:
        started = now = time.monotonic()
        while self.unfinished and now < started + seconds:
            self._turn(self, started + seconds - now)
            now = time.monotonic()
        self.scoring.tail_s += now - started
        return not self.unfinished


class VerifierPool(contextlib.AbstractContextManager["VerifierPool"]):
    """Implements `protocols.Verifiers`. At most `tasks.workers` workers start, with the first answers or `start`."""

    def __init__(self, tasks: TasksConfig, say: Say | None = None) -> None:
        """A pool for `tasks`; `say` is told of failures. Raises ConfigError for an unknown task or a module that cannot
        be loaded."""
        extension.load(tasks.modules, "tasks.modules")
        classes = [verifier_class(each.name, f"tasks.mixture.{entry}.name") for entry, each in tasks.mixture.items()]
        setup = WorkerSetup(
            entries={entry: (each.name, dict(each.options)) for entry, each in tasks.mixture.items()},
            modules=sorted({cls.__module__ for cls in classes}),
            timeout_s=tasks.timeout_s,
            memory=tasks.memory_mib << 20,
        )
        self._first_request = encode(WorkerRequest(setup=setup))
        self._size, self._timeout, self._attempts = tasks.workers, tasks.timeout_s, tasks.retries + 1
        self._workers: list[VerifierWorker] = []
        self._failed_starts = 0
        self._audit = VerdictAudit(tasks, say)
        self._lock = threading.Lock()
        self.counters = Scoring()
        """The sum over all batches so far."""

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def batch(self) -> Iterator[PoolBatch]:
        """A new batch. There is one at a time: another thread waits for its end."""
        with self._lock:
            self._failed_starts = 0
            batch = PoolBatch(self._attempts, self._turn)
            batch.audit = self._audit
            self._audit.begin()
            try:
                yield batch
            finally:
                if batch.unfinished:
                    self._stop_all()  # their answers are no longer needed
                self.counters += batch.scoring
                self._audit.end()

    def start(self, answers: int) -> None:
        """Start as many workers as so many answers will need. They load their libraries while the caller goes on."""
        with self._lock:
            while len(self._workers) < min(self._size, math.ceil(answers / CHUNK)):
                worker = VerifierWorker(self._first_request + encode(WorkerRequest(warm=True)))
                worker.write()
                self._workers.append(worker)
                self.counters.started += 1

    def score(self, pairs: list[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict per (problem, answer text), in order."""
        with self.batch() as batch:
            for problem, text in pairs:
                batch.add(problem, text)
            return batch.verdicts()

    def close(self) -> None:
        """End all workers. A later batch starts new ones."""
        with self._lock:
            self._stop_all()

    def _stop_all(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def _turn(self, batch: PoolBatch, seconds: float) -> None:
        self._hand_out(batch)
        if self._workers:
            self._exchange(batch, seconds)
            return
        while batch.queue:
            batch.resolve(batch.queue.popleft(), infra_error("no verifier process could be started"))

    def _hand_out(self, batch: PoolBatch) -> None:
        """Give every idle worker a chunk; start workers while answers are left over."""
        for worker in list(self._workers):
            if worker.ready and not worker.jobs and batch.queue:
                if worker.answered >= RECYCLE:
                    self._stop(worker)  # a new one takes its place below: it may have been the only one
                    continue
                worker.jobs.extend(batch.take(self._size))
                worker.outgoing += encode(WorkerRequest(answers=[job.message for job in worker.jobs]))
                worker.start_clock(self._timeout)
                for job in worker.jobs:
                    job.given = job.given or time.monotonic()
        waiting = sum(not worker.ready for worker in self._workers)
        room = len(self._workers) < self._size and self._failed_starts < MAX_FAILED_STARTS
        if room and len(batch.queue) > waiting * CHUNK:
            self._workers.append(VerifierWorker(self._first_request))
            batch.scoring.started += 1

    def _exchange(self, batch: PoolBatch, most: float) -> None:
        """Move bytes both ways, after waiting for workers for `most` seconds at most; stop the late ones."""
        poll = select.poll()
        by_source = {worker.source: worker for worker in self._workers}
        by_sink = {worker.sink: worker for worker in self._workers if worker.outgoing}
        for descriptor in by_source:
            poll.register(descriptor, select.POLLIN)
        for descriptor in by_sink:
            poll.register(descriptor, select.POLLOUT)
        busy = [worker.deadline for worker in self._workers if worker.jobs or not worker.ready]
        seconds = max(0.0, min(most, min(busy) - time.monotonic())) if busy else 0.0
        for descriptor, _ in poll.poll(math.ceil(seconds * 1000)):
            worker = by_source.get(descriptor) or by_sink[descriptor]
            if worker not in self._workers:
                continue
            if descriptor == worker.sink:
                worker.write()
            else:
                self._read(worker, batch)
        now = time.monotonic()
        for worker in list(self._workers):
            late = (worker.jobs or not worker.ready) and now >= worker.deadline
            if late and not worker.is_starved(now, self._timeout):
                batch.scoring.timeouts += 1
                self._fail(worker, f"no verdict within {self._timeout:g} s", batch)

    def _read(self, worker: VerifierWorker, batch: PoolBatch) -> None:
        data = os.read(worker.source, 1 << 16)
        if not data:
            batch.scoring.crashes += 1
            self._fail(worker, "the verifier died", batch)
            return
        try:
            for reply in worker.inbox.feed(data):
                self._take(worker, reply, batch)
        except BrokenMessageError as error:
            batch.scoring.crashes += 1
            self._fail(worker, f"the verifier sent an invalid message: {error}", batch)

    def _take(self, worker: VerifierWorker, reply: WorkerReply, batch: PoolBatch) -> None:
        """Act on one message of a worker: it is ready, it imports something slow, or it has a verdict."""
        worker.processor_s = reply.processor_s
        match reply.event:
            case "ready":
                worker.ready = True
                self._failed_starts = 0
            case "warming":
                worker.deadline = worker.last_deadline = time.monotonic() + STARTUP_S
            case "warm":
                worker.start_clock(self._timeout)
            case "working" if worker.jobs:
                worker.deadline = min(worker.last_deadline, time.monotonic() + self._timeout)
            case VerdictMessage(id=index) if worker.jobs and index == worker.jobs[0].message.id:
                job = worker.jobs.popleft()
                worker.answered += 1
                worker.start_clock(self._timeout)
                batch.attempted(job, reply.event.verdict())
            case _:
                raise BrokenMessageError("a verdict that nobody asked for")

    def _fail(self, worker: VerifierWorker, reason: str, batch: PoolBatch) -> None:
        """Kill a worker; charge the answer it was working on, put the others back."""
        if not worker.ready:
            self._failed_starts += 1
        log = self._stop(worker)
        jobs = worker.jobs
        if jobs:
            guilty = jobs.popleft()
            batch.put_back(jobs)
            detail = f"{reason} ({log})" if log else reason
            batch.attempted(guilty, infra_error(detail))

    def _stop(self, worker: VerifierWorker) -> str:
        self._workers.remove(worker)
        return worker.stop()
