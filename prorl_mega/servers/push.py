"""A push of weights to all servers: pause, start, buckets, finish, verify, reset the cache, resume.

The stream is gathered in the caller's thread, where the learner's ranks exchange shards, while the bucket before it is
on its way to all servers at once. Every step has a deadline. A server that fails in a step is replaced and the others
go on; only when none of them has taken the weights is it an error.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from prorl_mega.config.servers import PauseMode
from prorl_mega.errors import ProRLError, WeightSyncError
from prorl_mega.servers.answers import GarbledAnswerError
from prorl_mega.servers.client import VERIFY, ServerGoneError, ServerRefusedError
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.replica import Replica
from prorl_mega.transfer.bucket import Bucket, PushDigest, gather_buckets


@dataclass(kw_only=True, slots=True, frozen=True)
class PushReport:
    """The outcome of a push. Seconds are wall-clock time."""

    version: int
    digest: str  # of all tensors, equal on the sender's side and in all workers that took them
    tensors: int
    nbytes: int
    buckets: int
    servers: tuple[str, ...]  # that hold the weights; none if there was none to push to
    failures: Mapping[str, str]  # of the others, which are replaced
    total_s: float
    paused_s: float  # the longest that a server did not sample


class NothingTakenError(WeightSyncError):
    """There were servers to push to, and none has taken the weights; all of them are replaced."""


@dataclass(slots=True, eq=False)
class _Lane:
    """One server in a push."""

    replica: Replica
    error: str = ""  # of the first step that failed
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one call at a time, in the order of the buckets
    paused_at: float = 0.0
    paused_s: float = 0.0


class WeightPush:
    """Pushes of one learner's rank `rank` to the servers of `fleet`. One push at a time."""

    def __init__(self, fleet: Fleet, *, rank: int = 0) -> None:
        self._fleet, self._rank = fleet, rank
        self._config, self._transport = fleet.config, fleet.transport

    def push(self, stream: Iterator[tuple[str, Tensor]], version: int, *, only_waiting: bool = False) -> PushReport:
        """Give all servers the tensors of `stream` (Hugging Face name, full tensor) as `version`, which only rises.

        The stream is always consumed to its end, whatever happens to servers: other ranks take part in it. With
        `only_waiting`, servers that came later get the current version again. Raises NothingTakenError if there
        were servers and none has taken the weights, and whatever the stream raises.
        """
        began = time.monotonic()
        targets = self._fleet.call(self._fleet.begin_push(version, only_waiting=only_waiting))
        lanes = [_Lane(replica) for replica in targets]
        opening = self._fleet.begin(self._each(lanes, self._open))
        digest, sent, buckets = PushDigest(), 0, 0
        try:
            for bucket in self._gathered(stream, lanes, opening, version):
                buckets += 1
                sent += bucket.manifest.nbytes
                for entry in bucket.manifest.entries:
                    digest.add(entry)
            self._transport.finish(version)
        except BaseException as error:
            if isinstance(error, ProRLError):  # ours: the other ranks of the learner are still in the stream
                deque(stream, maxlen=0)
            opening.result()
            for lane in lanes:  # they have been told to begin, and hold two versions now
                lane.error = lane.error or f"the learner's stream broke off: {error!r}"
            raise
        else:
            self._fleet.call(self._each(lanes, lambda lane: self._end(lane, version, digest)))
        finally:
            failures = {lane.replica.name: self._named(lane, version) for lane in lanes if lane.error}
            self._fleet.call(self._fleet.end_push(version, targets, failures))
        if lanes and len(failures) == len(lanes):
            raise NothingTakenError(
                f"no server has taken the weights of version {version}: {'; '.join(failures.values())}"
            )
        return PushReport(
            version=version, digest=digest.hexdigest(), tensors=digest.tensors, nbytes=sent, buckets=buckets,
            servers=tuple(lane.replica.name for lane in lanes if not lane.error), failures=failures,
            total_s=time.monotonic() - began, paused_s=max((lane.paused_s for lane in lanes), default=0.0),
        )  # fmt: skip

    def _gathered(
        self, stream: Iterator[tuple[str, Tensor]], lanes: list[_Lane], opening: Future[None], version: int
    ) -> Iterator[Bucket]:
        """Every bucket, once it has been handed to the fleet's thread. At the end all have been delivered."""
        on_their_way: deque[Future[None]] = deque([opening])

        def memory(nbytes: int) -> Tensor:
            while len(on_their_way) > 1:  # the bucket before the last has to be gone: this is its memory
                on_their_way.popleft().result()
            return self._transport.memory(nbytes)

        for bucket in gather_buckets(stream, memory, limit=self._config.bucket_mib << 20):
            place = self._transport.place(bucket, version)
            on_their_way.append(self._fleet.begin(self._deliver(lanes, bucket, place)))
            yield bucket
        while on_their_way:
            on_their_way.popleft().result()

    def _named(self, lane: _Lane, version: int) -> str:
        return f"push of version {version} from rank {self._rank} to {lane.replica.name}: {lane.error}"

    # In the fleet's thread.

    async def _each(self, lanes: list[_Lane], run: Any) -> None:
        await asyncio.gather(*(run(lane) for lane in lanes))

    async def _open(self, lane: _Lane) -> None:
        async with lane.turn:
            mode = self._config.pause
            waits = mode is PauseMode.wait
            deadline = self._config.pause_deadline_s if waits else self._config.step_deadline_s
            # clear_cache=true, the default: samples that are kept compute their keys and values again, under the new
            # weights; with the old ones their log-probabilities would be wrong by nats.
            await self._step(lane, f"/pause?mode={mode.value}&clear_cache=true", {}, deadline)
            lane.paused_at = time.monotonic()
            await self._step(lane, "/start_weight_update", {})

    async def _deliver(self, lanes: list[_Lane], bucket: Bucket, place: dict[str, Any]) -> None:
        manifest = bucket.manifest
        info = {"index": manifest.index, "place": place, "tensors": manifest.plain()}

        async def deliver(lane: _Lane) -> None:
            async with lane.turn:
                if lane.error:
                    return
                sending = asyncio.create_task(asyncio.to_thread(self._transport.deliver, bucket, lane.replica.name))
                await self._step(lane, "/update_weights", {"update_info": info}, bucket=manifest.index)
                if lane.error:  # a transport may wait for this server for as long as its own time limit
                    sending.add_done_callback(lambda task: task.exception())
                    return
                try:
                    await sending
                except ProRLError as error:
                    lane.error = f"update_weights (bucket {manifest.index}): {error}"

        await self._each(lanes, deliver)

    async def _end(self, lane: _Lane, version: int, digest: PushDigest) -> None:
        async with lane.turn:
            await self._step(lane, "/finish_weight_update", {"weight_version": str(version)})
            receipt = {"version": str(version), "digest": digest.hexdigest(), "tensors": digest.tensors}
            await self._step(lane, VERIFY, receipt)
            reset = await self._step(lane, "/reset_prefix_cache?reset_running_requests=true", {})
            if not lane.error and reset.get("success") is not True:
                lane.error = "reset_prefix_cache: the cache was not cleared"
            await self._step(lane, "/resume", {})
            lane.paused_s = time.monotonic() - lane.paused_at

    async def _step(
        self, lane: _Lane, path: str, body: dict[str, Any], deadline_s: float | None = None, bucket: int | None = None
    ) -> dict[str, Any]:
        """One call, unless one before it has failed."""
        if lane.error:
            return {}
        step = path[1:].partition("?")[0] + ("" if bucket is None else f" (bucket {bucket})")
        replica = lane.replica
        call = asyncio.ensure_future(replica.client.call(path, body, deadline_s or self._config.step_deadline_s))
        doom = asyncio.ensure_future(replica.doomed.wait())
        await asyncio.wait((call, doom), return_when=asyncio.FIRST_COMPLETED)
        doom.cancel()
        if replica.doomed.is_set():  # its connections are closed as well: the reason is the fleet's, not that
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            lane.error = f"{step}: {replica.reason}"
            return {}
        try:
            return call.result()
        except (ServerGoneError, ServerRefusedError, GarbledAnswerError) as error:
            lane.error = f"{step}: {error}"
            return {}
