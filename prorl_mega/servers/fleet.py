"""All servers of a run: started, watched, replaced, given work and given weights, while a loop uses them.

One thread talks to them; methods are called from others. A group goes to the server with the least to do, all of its
samples to one. What a server does not finish, because it ends, hangs, is slow or sends what cannot be true, is sampled
elsewhere; samples that have arrived are kept, and every order has exactly one outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from prorl_mega.config.servers import ServersConfig
from prorl_mega.errors import ProRLError, RolloutError
from prorl_mega.servers.answers import (
    AbortedSampleError,
    GarbledAnswerError,
    GroupOrder,
    SampleLimits,
    VersionedSample,
)
from prorl_mega.servers.client import ServerGoneError, ServerRefusedError
from prorl_mega.servers.group_job import GroupJob
from prorl_mega.servers.group_queue import GroupQueue
from prorl_mega.servers.replica import Replica, ReplicaState
from prorl_mega.servers.start import Launch, start_replica
from prorl_mega.transfer.transport import Transport

_FAILED = (ServerGoneError, ServerRefusedError, GarbledAnswerError)
_TICK_S = 0.2
_Result = TypeVar("_Result")


class Fleet(contextlib.AbstractContextManager["Fleet"]):
    """The servers. `say` is called in the fleet's thread with a line for people.

    `max_concurrent` are the samples that one server decodes at once, `workers` its tensor-parallel ranks.
    """

    def __init__(
        self,
        config: ServersConfig,
        launch: Launch,
        transport: Transport,
        *,
        token: str,
        limits: SampleLimits,
        max_concurrent: int,
        workers: int = 1,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config, self.transport = config, transport
        self.version: int | None = None  # of the weights that new samples begin with
        self.counts: Counter[str] = Counter()  # of what went wrong, by kind
        self._launch, self._token, self._limits, self._say = launch, token, limits, say
        self._max_concurrent, self._workers = max_concurrent, workers
        self._newest = -1  # of the versions that a push has begun with
        self._lives: dict[str, asyncio.Task[None]] = {}  # by slot
        self._replicas: dict[str, Replica] = {}  # by slot: those that have started
        self._given_up: dict[str, str] = {}  # slots that do not start, with the reason
        self._failed_starts: dict[str, str] = {}  # the reason of the last one, by slot
        self._queue = GroupQueue()
        self._open: set[GroupJob] = set()
        self._numbers = itertools.count()
        # When there has been no server for too long; the first ones may take all the time that a start may take.
        self._lost_at = time.monotonic() + max(config.start_deadline_s, config.lost_deadline_s)
        self._lost: RolloutError | None = None
        self._pool = ThreadPoolExecutor(64, "servers")  # threads that wait for processes and transports
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._pool)
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
        self._thread.start()
        self._watching = asyncio.run_coroutine_threadsafe(self._watch_all(), self._loop)
        for _ in range(config.replicas):
            self.add()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `coroutine` in the fleet's thread and wait for it."""
        return self.begin(coroutine).result()

    def begin(self, coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Run `coroutine` in the fleet's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def add(self) -> str:
        """Start one more server; returns its name. It gets work after the next push."""

        async def add() -> str:
            slot = f"server-{next(self._numbers)}"
            self._lives[slot] = asyncio.create_task(self._live(slot))
            return slot

        return self.call(add())

    def remove(self, name: str) -> None:
        """Let a server finish what it has, and end it. Waits for that."""
        self.call(self._remove(name))

    def submit(
        self, order: GroupOrder, arrived: Callable[[int, VersionedSample], None] = lambda place, sample: None
    ) -> Future[list[VersionedSample]]:
        """Have a group sampled; its samples come in the order of the seeds. Does not wait.

        Each is handed to `arrived` as soon as it is there, with its place among the seeds, in the fleet's thread. The
        future raises RolloutError if too many servers fail over it, or if there is none left for too long.
        """
        job = GroupJob(order, arrived)

        def enqueue() -> None:
            self._open.add(job)
            self._queue.append(job)
            self._dispatch()

        self._loop.call_soon_threadsafe(enqueue)
        return job.outcome

    def give_up(self) -> None:
        """Forget all groups that are not finished; their futures raise RolloutError."""

        async def give_up() -> None:
            self._fail_all(RolloutError("the samples were given up"))
            for replica in self._replicas.values():
                replica.give_back()

        self.call(give_up())

    def summary(self) -> dict[str, dict[str, Any]]:
        """The state of each server that has started, by name."""

        async def read() -> dict[str, dict[str, Any]]:
            return {slot: replica.summary() for slot, replica in self._replicas.items()}

        return self.call(read())

    @property
    def is_starved(self) -> bool:
        """Whether nothing can be sampled before a push: servers wait for weights, and none is ready."""
        states = [each.state for each in list(self._replicas.values())]
        return self.has_newcomers and ReplicaState.READY not in states

    @property
    def has_newcomers(self) -> bool:
        """Whether a server waits for weights, as one does that came after the last push."""
        return any(each.state is ReplicaState.WAITING and not each.is_leaving for each in list(self._replicas.values()))

    def wait_for(self, count: int) -> None:
        """Wait until so many servers have started. Raises RolloutError when that cannot happen any more."""
        while len(self._replicas) < count:
            if self._lost is not None or len(self._lives) - len(self._given_up) < count:
                raise self._lost or self._loss()
            time.sleep(_TICK_S)

    def close(self) -> None:
        """End all servers. Groups that are not finished raise RolloutError."""
        if not self._thread.is_alive():
            return
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    # Pushes: `servers/push.py` calls these in the fleet's thread.

    async def begin_push(self, version: int, *, only_waiting: bool) -> list[Replica]:
        """The servers that a push of `version` goes to; they get no new work until `end_push`."""
        assert only_waiting or version > self._newest, f"version {version} after {self._newest}"
        assert not only_waiting or version == self.version, f"others sample from version {self.version}"
        self._newest = version
        wanted = {ReplicaState.WAITING} if only_waiting else {ReplicaState.WAITING, ReplicaState.READY}
        targets = [each for each in self._replicas.values() if each.state in wanted and not each.is_leaving]
        for each in targets:
            each.is_pushing = True
            each.pushes += 1
        return targets

    async def end_push(self, version: int, targets: list[Replica], failures: dict[str, str]) -> None:
        """Go on with the servers that took `version`; those in `failures` are replaced."""
        self.version = version
        for each in self._replicas.values():
            if each.state is ReplicaState.READY and each not in targets:
                each.settle(version)  # it came back from quarantine meanwhile, with old weights
        for each in targets:
            each.is_pushing = False
            if each.name in failures:
                self.counts["push_failures"] += 1
                each.doom(failures[each.name])
            else:
                each.version = version
                if each.state is not ReplicaState.GONE:
                    each.settle(version)
        self._dispatch()

    # One server after the other in each slot.

    async def _live(self, slot: str) -> None:
        failed = 0
        for life in itertools.count():
            name = slot if not life else f"{slot}.{life}"
            try:
                replica = await start_replica(
                    name,
                    self._launch,
                    self.transport,
                    self.config,
                    token=self._token,
                    valid_vocab=self._limits.valid_vocab,
                    workers=self._workers,
                )
            except (RolloutError, *_FAILED) as error:
                failed += 1
                self.counts["failed_starts"] += 1
                self._failed_starts[slot] = str(error)
                self._say(f"{name} did not start: {error}")
                if failed == self.config.max_failed_starts:
                    self._given_up[slot] = str(error)
                    return
                continue
            failed = 0
            self._failed_starts.pop(slot, None)
            self._replicas[slot] = replica
            self._say(f"{name} has started, and waits for weights")
            try:
                await self._watch(replica)
            finally:
                del self._replicas[slot]
                await self._retire(replica)
            if replica.is_leaving:
                return
            self.counts["replaced"] += 1
            self._say(f"{name} is replaced: {replica.reason}")

    async def _watch(self, replica: Replica) -> None:
        """Ask the server how it is until it has to be ended."""
        while not replica.doomed.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(replica.doomed.wait(), self.config.probe_s)
            replica.process.shorten_log()
            if replica.process.has_ended:
                replica.doom(f"its process has ended; {replica.process.log} says why")
            elif replica.has_been_away_too_long:
                replica.doom(replica.reason)
            elif not replica.doomed.is_set():
                await self._probe(replica)

    async def _probe(self, replica: Replica) -> None:
        was_pushing, pushes = replica.is_pushing, replica.pushes
        try:
            if was_pushing:  # the core is loading weights, and answers nothing else
                await replica.client.is_there(self.config.probe_deadline_s)
                replica.is_there()
                return
            state, version = await replica.client.status(self.config.probe_deadline_s)
        except _FAILED as error:
            if replica.is_pushing is was_pushing and replica.pushes == pushes and replica.missed(str(error)):
                self._say_quarantined(replica)
            return
        if not replica.is_pushing and replica.pushes == pushes and replica.answered(state, version, self.version):
            self._say(f"{replica.name} is back")
            self._dispatch()

    async def _retire(self, replica: Replica) -> None:
        replica.give_back()
        await asyncio.gather(*replica.jobs, return_exceptions=True)
        await replica.client.close()
        await self._loop.run_in_executor(None, self.transport.leave, replica.name)
        await self._loop.run_in_executor(None, replica.process.end)

    async def _remove(self, name: str) -> None:
        replica = self._replicas.get(name)
        life = self._lives.pop(name)
        self._given_up.pop(name, None)
        if replica is None:
            life.cancel()
        else:
            replica.is_leaving = True
            while replica.jobs and replica.state is ReplicaState.READY:
                await asyncio.wait(set(replica.jobs))
            replica.doom("it was removed")
        await asyncio.gather(life, return_exceptions=True)

    # Work.

    def _dispatch(self) -> None:
        """Hand groups to servers that take work, as long as there are both."""
        while self._queue:
            job = self._queue.first
            able = [each for each in self._replicas.values() if each.takes_work]
            able = [each for each in able if each.name not in job.avoided] or able
            free = [
                each for each in able if not each.working or each.working + len(job.missing) <= self._max_concurrent
            ]
            if not free:
                return
            self._queue.popleft()
            replica = min(free, key=lambda each: each.working)
            replica.take(len(job.missing))
            task = self._loop.create_task(self._work(job, replica))
            replica.jobs.add(task)
            task.add_done_callback(functools.partial(self._ended, job, replica, len(job.missing)))

    def _ended(self, job: GroupJob, replica: Replica, count: int, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it has begun: nothing of `_work` has run
            self._again(job, replica, replica.reason)
        replica.take(-count)
        replica.jobs.discard(task)
        self._dispatch()

    async def _work(self, job: GroupJob, replica: Replica) -> None:
        """Sample what is missing of a group on one server; what is missing then is for another one."""
        samples = [asyncio.create_task(self._sample(job, place, replica)) for place in job.missing]
        try:
            for finished in asyncio.as_completed(samples):
                await finished
            self._open.discard(job)
            job.finish()
        except AbortedSampleError:
            self._queue.appendleft(job)
        except asyncio.CancelledError:
            self._again(job, replica, replica.reason or "it was taken out of work")
        except _FAILED as error:
            self.counts["garbled"] += (is_lie := isinstance(error, GarbledAnswerError))
            if replica.strike(str(error)) if is_lie else replica.quarantine(str(error)):
                self._say_quarantined(replica)
            self._again(job, replica, str(error))
        finally:
            for sample in samples:
                sample.cancel()

    async def _sample(self, job: GroupJob, place: int, replica: Replica) -> None:
        first = replica.version or 0
        sample = await replica.client.sample(
            job.order, job.order.seeds[place], limits=self._limits,
            versions=lambda: range(first, self._newest + 1), deadline_s=self.config.sample_deadline_s,
        )  # fmt: skip
        job.add(place, sample)

    def _again(self, job: GroupJob, replica: Replica, reason: str) -> None:
        if job.outcome.done():
            return
        job.failures.append(f"{replica.name}: {reason}")
        job.avoided.add(replica.name)
        self.counts["repeated_groups"] += 1
        if len(job.failures) < self.config.group_attempts:
            self._queue.appendleft(job)
            return
        self._open.discard(job)
        job.fail(RolloutError(f"{len(job.failures)} servers failed over one group: {'; '.join(job.failures)}"))

    def _say_quarantined(self, replica: Replica) -> None:
        self.counts["quarantined"] += 1
        self._say(f"{replica.name} gets no work for now: {replica.reason}")

    # The end.

    async def _watch_all(self) -> None:
        """Notice when there has been no server for too long, or can be none any more."""
        while True:
            for slot, life in self._lives.items():
                if life.done() and not life.cancelled() and (bug := life.exception()):
                    self._given_up.setdefault(slot, repr(bug))
            usable = any(each.state is not ReplicaState.QUARANTINED for each in self._replicas.values())
            if usable:
                self._lost_at, self._lost = time.monotonic() + self.config.lost_deadline_s, None
            none_can_come = bool(self._lives) and self._lives.keys() <= self._given_up.keys()
            if not usable and (none_can_come or time.monotonic() > self._lost_at):
                self._lost = self._loss()
                self._fail_all(self._lost)
            await asyncio.sleep(_TICK_S)

    def _loss(self) -> RolloutError:
        reasons = [f"{slot}: {reason}" for slot, reason in (self._failed_starts | self._given_up).items()]
        reasons += [f"{each.name}: {each.reason}" for each in self._replicas.values() if each.reason]
        return RolloutError(f"no server is left to sample from ({'; '.join(reasons) or 'none has started'})")

    def _fail_all(self, error: ProRLError) -> None:
        self._queue.clear()
        for job in self._open:
            job.fail(error)
        self._open.clear()

    async def _close(self) -> None:
        self._watching.cancel()
        lives = list(self._lives.values())
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        self._fail_all(RolloutError("the servers were closed"))
        await self._loop.run_in_executor(None, self.transport.close)
