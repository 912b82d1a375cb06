"""The servers of a run behind the interface of the loop: one engine, which all ranks of the job drive together.

The first rank has the servers. It hands them groups, takes what arrives and pushes weights; in every step of sampling
it tells the others whether there is more to come, because they take part in pushes, in stopping and in errors.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from itertools import groupby, islice
from queue import Empty, SimpleQueue
from statistics import fmean
from typing import Any

import numpy as np
import torch

from prorl_mega.checksum import Checksum
from prorl_mega.config.schema import RolloutConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import RolloutError, WeightSyncError
from prorl_mega.protocols import Finished
from prorl_mega.rollout.requests import check_prompts
from prorl_mega.run.timers import SERVERS_IDLE, SERVERS_PREFIX
from prorl_mega.servers.answers import GroupOrder, VersionedSample
from prorl_mega.servers.fleet import Fleet
from prorl_mega.servers.push import NothingTakenError, WeightPush
from prorl_mega.types import Completion, Metrics

NO_WEIGHTS = -1
STEP_S = 0.1  # the longest step of sampling in which nothing arrives
BLOCK = 16  # most samples of a prompt that a stream hands to one server at a time
COUNTS = ("failed_starts", "garbled", "push_failures", "quarantined", "repeated_groups", "replaced")
Stream = Iterator[tuple[str, torch.Tensor]]
Orders = Iterator[tuple[int, GroupOrder]]


class FleetRollout:
    """Every rank calls every method together, with equal arguments. The first rank alone gets completions.

    All tokens of a completion are of the version that was handed over last. A server that is lost costs time: others
    sample the same, and the one that replaces it gets the same weights while they do.
    """

    def __init__(
        self,
        fleet: Fleet | None,
        ranks: Ranks,
        *,
        config: RolloutConfig,
        valid_vocab: int,
        policy: Callable[[], Stream],
    ) -> None:
        """`fleet` is None on all ranks but the first. `policy` streams the weights that were handed over last once
        more, for servers that come later."""
        self.version = NO_WEIGHTS
        self._fleet, self._ranks, self._config, self._valid_vocab = fleet, ranks, config, valid_vocab
        self._policy = policy
        self._number = -1  # of the last push; versions of the loop may come twice, after a reset
        self._versions: dict[int, int] = {}  # of the loop, by the number of their push
        self._checksum = ""
        self._lost_pushes = 0  # in a row
        self._seconds = {"push": 0.0, "paused": 0.0}
        self._told: Counter[str] = Counter()  # the fleet's counts when `metrics` was last asked
        self._idle = IdleTime()

    def generate(
        self,
        prompts: list[np.ndarray],
        *,
        samples: int,
        seeds: list[list[int]],
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """Sample `samples` completions of each prompt (`[P]` int32), those of a prompt on one server.

        An iteration yields what has arrived since the last one, often nothing. Raises DataError for a prompt that does
        not fit, and RolloutError, on every rank, when no server is left or a group fails on too many of them.
        """
        assert [len(each) for each in seeds] == [samples] * len(prompts), "one seed for each sample of each prompt"
        check_prompts(prompts, max_tokens=self._config.max_prompt_tokens, valid_vocab=self._valid_vocab)
        make = self._orders(temperature, top_p, max_tokens)
        orders = (
            (index * samples, make(prompt, row)) for index, (prompt, row) in enumerate(zip(prompts, seeds, strict=True))
        )
        yield from self._sample(orders, ahead=max(1, samples * len(prompts)))

    def stream(
        self,
        requests: Iterator[tuple[np.ndarray, int]],
        *,
        ahead: int,
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """`generate` for a stream of (prompt, seed), which the first rank alone takes, about `ahead` at a time.

        Completions are numbered in the order of the requests. Requests for a prompt that follow each other go to one
        server, up to BLOCK of them.
        """
        make = self._orders(temperature, top_p, max_tokens)

        def orders() -> Orders:
            for _, same in groupby(enumerate(requests), key=lambda each: each[1][0].tobytes()):
                while block := list(islice(same, BLOCK)):
                    first, (prompt, _) = block[0]
                    most, vocab = self._config.max_prompt_tokens, self._valid_vocab
                    check_prompts([prompt], max_tokens=most, valid_vocab=vocab, first=first)
                    yield first, make(prompt, [seed for _, (_, seed) in block])

        yield from self._sample(orders(), ahead=ahead)

    def update_weights(self, weights: Stream, version: int) -> str:
        """Push the (Hugging Face name, full tensor) pairs to all servers as `version`; returns their checksum.

        Every server that samples afterwards has compared the checksum of each tensor and of the whole with the
        sender's (`rollout/guard.py`), so what they hold is what the checksum is of. Raises WeightSyncError on every
        rank when no server has taken the weights several times in a row.
        """
        assert version > NO_WEIGHTS, f"versions count from 0, not {version}"
        self.version = NO_WEIGHTS
        self._number = max(version, self._number + 1)
        self._versions[self._number] = version  # before servers have them: they sample as soon as they do
        self._checksum = self._push(weights, only_waiting=False)
        self.version = version
        return self._checksum

    def submit(
        self,
        prompt: np.ndarray,
        seeds: list[int],
        arrived: Callable[[int, Completion], None],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int | None,
        in_background: bool = False,
    ) -> Future[list[VersionedSample]]:
        """Have samples of a prompt drawn while the caller does something else; on the first rank only.

        `arrived` is called with each and its place among the seeds, in another thread. Their tokens may be of several
        versions, because pushes do not wait for them. The future's error is why some will never arrive. Those
        `in_background` are sampled where servers have nothing else to do.
        """
        assert self._fleet is not None, "the first rank has the servers"
        check_prompts([prompt], max_tokens=self._config.max_prompt_tokens, valid_vocab=self._valid_vocab)
        order = self._orders(temperature, top_p, max_tokens, in_background)(prompt, seeds)
        return self._fleet.submit(order, lambda place, sample: arrived(place, self._completion_of_any(sample)))

    def serve_newcomers(self, *, has_work: bool) -> None:
        """Give servers that came after the last push its weights, if there is work for them; as the first rank says.
        Collective."""
        if self._ranks.broadcast(has_work and self._fleet is not None and self._fleet.has_newcomers):
            self._push_once_more()

    def sleep(self) -> None:
        """Nothing: servers have memory of their own."""

    def wake(self) -> None:
        """Nothing."""

    def metrics(self) -> Metrics:
        """Since the last call: seconds of pushes (`seconds/servers_push`), those in which servers waited for them
        (`seconds/servers_paused`) or had nothing to sample (`seconds/servers_idle`, the mean of the servers), and how
        often something went wrong (`servers/…`). Collective."""
        found: Metrics = {}
        if self._fleet is not None:
            now = Counter(self._fleet.counts)
            found = {SERVERS_PREFIX + name: seconds for name, seconds in self._seconds.items()}
            found[SERVERS_IDLE] = self._idle.since_last_call(self._fleet.summary())
            found |= {f"servers/{name}": float(now[name] - self._told[name]) for name in COUNTS}
            self._told = now
            self._seconds = dict.fromkeys(self._seconds, 0.0)
        return dict(self._ranks.broadcast(found))

    def _orders(
        self, temperature: float, top_p: float, max_tokens: int | None, in_background: bool = False
    ) -> Callable[[np.ndarray, list[int]], GroupOrder]:
        most = self._config.max_response_tokens
        longest = most if max_tokens is None else max_tokens
        assert 1 <= longest <= most, f"not built for {longest} tokens"

        def make(prompt: np.ndarray, seeds: list[int]) -> GroupOrder:
            return GroupOrder(
                prompt=prompt,
                seeds=tuple(seeds),
                temperature=temperature,
                top_p=top_p,
                max_tokens=longest,
                in_background=in_background,
            )

        return make

    def _sample(self, orders: Orders, *, ahead: int) -> Generator[Finished]:
        if self.version == NO_WEIGHTS:
            raise RolloutError("the servers have no weights: update_weights comes before sampling")
        groups = None if self._fleet is None else OpenGroups(self._fleet, orders, ahead)
        try:
            is_over = False
            while not is_over:
                finished: Finished = []
                pushes = False
                with self._ranks.raise_on_all_ranks("sampling"):
                    if groups is not None:
                        finished = [(index, self._completion(sample)) for index, sample in groups.arrived(STEP_S)]
                        is_over = groups.is_over
                        pushes = groups.needs_push
                is_over, pushes = self._ranks.broadcast([is_over, pushes])
                if pushes:
                    self._push_once_more()
                yield finished
        finally:
            if groups is not None:
                groups.close()

    def _completion(self, sample: VersionedSample) -> Completion:
        if (sample.versions != self._number).any():
            found = sorted(set(sample.versions.tolist()))
            raise RolloutError(
                f"{sample.server} sampled with weights {found}, where all samples have to be of {self._number}"
            )
        return Completion(tokens=sample.tokens, logprobs=sample.logprobs, finish=sample.finish, version=self.version)

    def _completion_of_any(self, sample: VersionedSample) -> Completion:
        numbers = sample.versions.tolist()
        versions = np.array([self._versions[number] for number in numbers], dtype=np.int32)
        is_mixed = len(set(numbers)) > 1
        return Completion(
            tokens=sample.tokens,
            logprobs=sample.logprobs,
            finish=sample.finish,
            version=int(versions[0]),
            versions=versions if is_mixed else None,
        )

    def _push_once_more(self) -> None:
        """Give the weights to servers that came after the last push."""
        if (found := self._push(self._policy(), only_waiting=True)) != self._checksum:
            raise WeightSyncError(
                f"a server that came later got weights with checksum {found}, the others have {self._checksum}; the "
                "policy has changed in between"
            )

    def _push(self, weights: Stream, *, only_waiting: bool) -> str:
        """Returns the checksum of the stream. Collective."""
        checksum = Checksum()
        observed = checksum.observe(weights)
        with self._ranks.raise_on_all_ranks("pushing weights"):
            if self._fleet is None:
                deque(observed, maxlen=0)
            else:
                self._push_from_here(self._fleet, observed, only_waiting=only_waiting)
        return checksum.hexdigest()

    def _push_from_here(self, fleet: Fleet, weights: Stream, *, only_waiting: bool) -> None:
        try:
            report = WeightPush(fleet, rank=self._ranks.rank).push(weights, self._number, only_waiting=only_waiting)
        except NothingTakenError as error:  # those servers are being replaced, and their successors get the weights
            self._lost_pushes += 1
            if self._lost_pushes >= fleet.config.max_failed_starts:
                raise WeightSyncError(f"{self._lost_pushes} pushes in a row: {error}") from None
            return
        self._lost_pushes = 0
        self._seconds["push"] += report.total_s
        self._seconds["paused"] += report.paused_s


class IdleTime:
    """How long servers have had nothing to sample."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = clock()
        self._busy: dict[str, float] = {}  # seconds by server, when it was last asked

    def since_last_call(self, servers: Mapping[str, Mapping[str, Any]]) -> float:
        """Seconds, the mean of the servers that are there now; `servers` as `Fleet.summary` has them."""
        passed = self._clock() - self._asked
        self._asked += passed
        busy = {name: each["busy_s"] for name, each in servers.items()}
        # One that was replaced counts from 0 again.
        idle = [max(0.0, passed - max(0.0, now - self._busy.get(name, 0.0))) for name, now in busy.items()]
        self._busy = busy
        return fmean(idle) if idle else passed


class OpenGroups:
    """Groups that servers sample, and what has arrived of them."""

    def __init__(self, fleet: Fleet, orders: Orders, ahead: int) -> None:
        """About `ahead` samples of `orders`, numbered by that of their first, are in the servers' hands at a time."""
        self._fleet, self._orders, self._ahead = fleet, orders, ahead
        self._all_taken = False
        self._open = 0  # samples that have not arrived
        self._queue: SimpleQueue[tuple[int, VersionedSample] | BaseException] = SimpleQueue()

    @property
    def is_over(self) -> bool:
        return self._all_taken and not self._open

    @property
    def needs_push(self) -> bool:
        """Whether there is work for a server that waits for weights."""
        return not self.is_over and self._fleet.has_newcomers

    def arrived(self, seconds: float) -> list[tuple[int, VersionedSample]]:
        """The samples that have arrived, by number; waits for at most `seconds` for the first. Raises a group's
        error."""
        self._take_orders()
        found: list[tuple[int, VersionedSample]] = []
        try:
            while self._open:
                each = self._queue.get_nowait() if found else self._queue.get(timeout=seconds)
                if isinstance(each, BaseException):
                    raise each
                found.append(each)
                self._open -= 1
        except Empty:
            pass
        self._take_orders()
        return found

    def close(self) -> None:
        """Give up what has not arrived."""
        if self._open:
            self._fleet.give_up()

    def _take_orders(self) -> None:
        """Refilled at half, so that samples of a prompt come together and servers never wait."""
        if self._open > self._ahead // 2:
            return
        while not self._all_taken and self._open < self._ahead:
            following = next(self._orders, None)
            if following is None:
                self._all_taken = True
            else:
                self._submit(*following)

    def _submit(self, first: int, order: GroupOrder) -> None:
        self._open += len(order.seeds)
        future = self._fleet.submit(order, lambda place, sample: self._queue.put((first + place, sample)))
        future.add_done_callback(self._ended)

    def _ended(self, outcome: Future[list[VersionedSample]]) -> None:
        if (error := outcome.exception()) is not None:
            self._queue.put(error)
