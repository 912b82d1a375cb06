"""The client of reward servers (`serve.py`), which do the work of `VerifierPool` on other machines.

One thread talks to all of them. The server with the most idle verifier processes gets the next answers. A server that
cannot be reached, falls silent or sends an invalid message is paused, longer each time, and is probed before it gets
work again; the answers that it had go to the others. An answer over which `tasks.retries` + 1 servers failed,
or that is left when all servers have failed repeatedly, is an infrastructure error with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import aiohttp

from prorl_mega.config.schema import TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.channel import BrokenMessageError
from prorl_mega.types import Grading, Problem, Scoring
from prorl_mega.verifiers.audit import Say, VerdictAudit
from prorl_mega.verifiers.batch import Answers, Job
from prorl_mega.verifiers.messages import infra_error
from prorl_mega.verifiers.remote.endpoint import OFTEN, BusyError, Endpoint, RefusedError
from prorl_mega.verifiers.remote.protocol import digests
from prorl_mega.verifiers.remote.token import read_token

PAUSES_S = (0.25, 0.5, 1.0, 2.0, 10.0)  # after the first failure in a row, the second, …
BUSY_S, MAX_BUSY = 1.0, 300  # until a server that has too many requests is asked again, and how often
_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, BrokenMessageError)
_Result = TypeVar("_Result")


class RemoteVerifiers(contextlib.AbstractContextManager["RemoteVerifiers"]):
    """Implements `protocols.Verifiers` with the reward servers of `tasks.servers`."""

    def __init__(self, tasks: TasksConfig, say: Say | None = None) -> None:
        """Probe the servers. Raises ConfigError if none can be reached, or one refuses the token or has other tasks."""
        token, entries = read_token(tasks.token_file), digests(tasks)
        self.endpoints = [Endpoint(address, token, entries, tasks) for address in tasks.servers]
        self.attempts = max(tasks.retries + 1, min(2, len(tasks.servers)))
        self._audit = VerdictAudit(tasks, say)
        self._lock = threading.Lock()
        self.counters = Scoring()
        """The sum over all batches so far."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="reward servers", daemon=True)
        self._thread.start()
        try:
            self.call(self._meet())
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def batch(self) -> Iterator[RemoteBatch]:
        """A new batch; one at a time."""
        with self._lock:
            batch = RemoteBatch(self)
            batch.audit = self._audit
            self._audit.begin()
            try:
                yield batch
            finally:
                self.call(batch.end())
                self.counters += batch.scoring
                self._audit.end()

    def start(self, answers: int) -> None:
        """The servers have started their processes."""

    def close(self) -> None:
        if self._thread.is_alive():
            for endpoint in self.endpoints:
                self.call(endpoint.close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `coroutine` in the thread that talks to the servers."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def _meet(self) -> None:
        """Probe every server once, before a run depends on them."""
        outcomes = await asyncio.gather(*(each.look() for each in self.endpoints), return_exceptions=True)
        problems = []
        for endpoint, outcome in zip(self.endpoints, outcomes, strict=True):
            if isinstance(outcome, RefusedError):
                raise ConfigError(f"tasks.servers: {endpoint.address}: {outcome}")
            if isinstance(outcome, _ERRORS):
                problems.append(f"{endpoint.address}: {describe(outcome)}")
            elif outcome is not None:
                raise outcome
        if len(problems) == len(self.endpoints):
            raise ConfigError(
                f"tasks.servers: no reward server answers ({'; '.join(problems)}). Start one with the settings of this "
                "run: python -m prorl_mega.serve"
            )


class RemoteBatch(Answers):
    """Implements `protocols.Batch`. Methods that begin with an underscore run in the thread that talks to servers."""

    def __init__(self, verifiers: RemoteVerifiers) -> None:
        super().__init__(verifiers.attempts)
        self._verifiers, self._loop, self._endpoints = verifiers, verifiers.loop, verifiers.endpoints
        self._requests: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._bug: BaseException | None = None
        for endpoint in self._endpoints:
            endpoint.failures, endpoint.is_paused = 0, False  # every batch tries again

    def add(self, problem: Problem, text: str, grading: Grading = Grading.STRICT) -> None:
        self._loop.call_soon_threadsafe(self._add, problem, text, grading)

    def poll(self) -> None:
        """Nothing to do: servers work without being asked."""

    def wait(self, seconds: float) -> bool:
        started = time.monotonic()
        is_done = self._verifiers.call(self._wait(seconds))
        self.scoring.tail_s += time.monotonic() - started
        return is_done

    async def end(self) -> None:
        """Give up what is not finished: connections are closed, which tells the servers."""
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)

    def _add(self, problem: Problem, text: str, grading: Grading) -> None:
        super().add(problem, text, grading)
        self._hand_out()

    async def _wait(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                while self.unfinished and self._bug is None:
                    self._news.clear()
                    await self._news.wait()
        if self._bug is not None and self.unfinished:
            raise self._bug
        return not self.unfinished

    def _hand_out(self) -> None:
        """Give servers as much as they can take; when all have failed, give up the remaining answers."""
        try:
            while endpoint := self._choose():
                jobs, body = self._chunk(endpoint)
                for job in jobs:
                    job.given = job.given or time.monotonic()
                if jobs:
                    request = self._loop.create_task(self._send(endpoint, jobs, body))
                    endpoint.working += 1
                    self._requests.add(request)
                    request.add_done_callback(self._ended)
        except Exception as error:  # nobody waits for this call; `verdicts` does, and raises it
            self._bug = error
        if all(each.has_failed_often and not each.working for each in self._endpoints):
            reasons = "; ".join(f"{each.address}: {each.reason}" for each in self._endpoints)
            while self.queue:
                self.resolve(self.queue.popleft(), infra_error(f"no reward server answers ({reasons})"))
        self._news.set()

    def _choose(self) -> Endpoint | None:
        """The server that can take the most, with an answer for it at the front of the queue.

        An answer over which a server failed before is for the others, as long as one of them works.
        """
        queue = self.queue
        for endpoint in sorted(self._endpoints, key=lambda each: -each.free):
            is_alone = all(each is endpoint or each.has_failed_often for each in self._endpoints)
            for _ in range(len(queue) if endpoint.free > 0 else 0):
                if is_alone or queue[0].failed_at != endpoint.address:
                    return endpoint
                queue.rotate(-1)
        return None

    def _chunk(self, endpoint: Endpoint) -> tuple[list[Job], bytes]:
        """The answers of one request, and a body that the server accepts; no answers when the first is too large."""
        jobs = self.take(sum(each.capacity for each in self._endpoints if not each.has_failed_often))
        while len(body := endpoint.encode(jobs)) >= endpoint.max_bytes:
            if len(jobs) == 1:
                text = f"problem and answer of {len(body)} bytes; {endpoint.address} takes {endpoint.max_bytes}"
                self.resolve(jobs[0], infra_error(text))
                return [], b""
            half = len(jobs) // 2
            self.put_back(jobs[half:])
            del jobs[half:]
        return jobs, body

    async def _send(self, endpoint: Endpoint, jobs: list[Job], body: bytes) -> None:
        looks = not endpoint.is_known
        reached = False
        try:
            if looks:
                await endpoint.look()
            reached = True
            verdicts, counts = await endpoint.score([job.message.id for job in jobs], body)
        except BusyError:
            self.put_back(jobs)
            endpoint.busy += 1
            if endpoint.busy < MAX_BUSY:
                self._pause(endpoint, BUSY_S)
            else:
                self._failed(endpoint, "it has had too many requests all the time")
        except RefusedError as error:
            self.put_back(jobs)
            endpoint.failures = OFTEN
            self._failed(endpoint, str(error))
        except _ERRORS as error:
            if reached and not isinstance(error, aiohttp.ClientConnectorError):
                for job in jobs:
                    job.failed_at = endpoint.address
                    self.attempted(job, infra_error(f"{endpoint.address}: {describe(error)}"))
            else:
                self.put_back(jobs)
            if looks or endpoint.is_known:  # other requests of the same time fail for the same reason
                self._failed(endpoint, describe(error))
        else:
            endpoint.failures = endpoint.busy = 0
            self.scoring += counts
            for job, verdict in zip(jobs, verdicts, strict=True):
                self.resolve(job, verdict)
        finally:
            endpoint.working -= 1

    def _ended(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        if not request.cancelled():
            self._bug = self._bug or request.exception()
            self._hand_out()

    def _failed(self, endpoint: Endpoint, reason: str) -> None:
        self.scoring.crashes += 1
        self._pause(endpoint, PAUSES_S[min(endpoint.failures, len(PAUSES_S) - 1)])
        endpoint.failures += 1
        endpoint.busy, endpoint.is_known, endpoint.reason = 0, False, reason

    def _pause(self, endpoint: Endpoint, seconds: float) -> None:
        def resume() -> None:
            endpoint.is_paused = False
            self._hand_out()

        endpoint.is_paused = True
        self._loop.call_later(seconds, resume)


def describe(error: BaseException) -> str:
    """The error in a few words, for messages."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return str(error)[:200] or type(error).__name__
