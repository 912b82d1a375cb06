"""One server as the fleet sees it: its state, and how answers and silence change it."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Any

from prorl_mega.config.servers import ServersConfig
from prorl_mega.servers.client import EngineClient
from prorl_mega.servers.process import ServerProcess

_MISSES = 2  # questions in a row without an answer


class ReplicaState(StrEnum):
    """The things that a server can be used for."""

    WAITING = "waiting"  # it answers, and has no weights, or old ones: a push makes it ready
    READY = "ready"  # it samples
    QUARANTINED = "quarantined"  # it gets no work until it has answered for a while
    GONE = "gone"  # it is ended, and replaced if it is still wanted


class Replica:
    """A server that has started. All methods run in the fleet's event loop."""

    def __init__(self, name: str, process: ServerProcess, client: EngineClient, config: ServersConfig) -> None:
        self.name, self.process, self.client = name, process, client
        self.state = ReplicaState.WAITING
        self.version: int | None = None  # of its verified weights
        self.working = 0  # samples that it has been asked for
        self.jobs: set[asyncio.Task[None]] = set()  # the groups that they belong to
        self.reason = ""  # of the last failure
        self.is_pushing = False
        self.is_leaving = False  # it gets no new work
        self.pushes = 0
        self.doomed = asyncio.Event()
        self._config = config
        self._misses = self._good = self._strikes = 0
        self._since = time.monotonic()
        self._busy_s, self._busy_since = 0.0, 0.0

    def take(self, samples: int) -> None:
        """It is asked for so many samples; a negative number of them has ended."""
        now, was_busy = time.monotonic(), self.working > 0
        self.working += samples
        if was_busy:
            self._busy_s += now - self._busy_since
        self._busy_since = now

    @property
    def busy_s(self) -> float:
        """Seconds in which it had anything to sample, since it started."""
        return self._busy_s + (time.monotonic() - self._busy_since if self.working else 0.0)

    @property
    def takes_work(self) -> bool:
        return self.state is ReplicaState.READY and not self.is_pushing and not self.is_leaving

    @property
    def has_been_away_too_long(self) -> bool:
        away = time.monotonic() - self._since
        return self.state is ReplicaState.QUARANTINED and away > self._config.replace_after_s

    def quarantine(self, reason: str) -> bool:
        """Take it out of work; its groups go to others. Whether it was in."""
        self.reason, self._good = reason, 0
        if self.state not in (ReplicaState.READY, ReplicaState.WAITING):
            return False
        if self.is_pushing:  # nobody waits for it: a push that broke off is not taken up again
            self.doom(reason)
            return True
        self.state, self._since = ReplicaState.QUARANTINED, time.monotonic()
        self.give_back()
        return True

    def strike(self, reason: str) -> bool:
        """Quarantine it for an answer that cannot be true; after several it is doomed. Whether it was in work."""
        was_in = self.quarantine(reason)
        self._strikes += 1
        if self._strikes >= self._config.strikes:
            self.doom(reason)
        return was_in

    def doom(self, reason: str) -> None:
        """It has to be ended and replaced."""
        self.reason, self.state = reason, ReplicaState.GONE
        self.doomed.set()
        self.give_back()

    def give_back(self) -> None:
        """Cancel its work, but for the task that calls, which knows already."""
        for job in self.jobs - {asyncio.current_task()}:
            job.cancel()

    def missed(self, reason: str) -> bool:
        """It has not answered a question. Whether it was in work and is not any more."""
        self._misses, self._good = self._misses + 1, 0
        return self._misses >= _MISSES and self.quarantine(reason)

    def is_there(self) -> None:
        """It has answered a question that says nothing about its engine."""
        self._misses = 0

    def answered(self, state: str, version: int | None, current: int | None) -> bool:
        """It has answered what its weights are; `current` are those that the fleet samples from. Whether it is back.

        A server whose weights are not those of its last push is doomed.
        """
        self._misses = 0
        if state == "broken" or version != self.version:
            self.doom(f"its weights are {state}, of version {version}; pushed was {self.version}")
            return False
        if self.state is not ReplicaState.QUARANTINED:
            return False
        self._good += 1
        if self._good < self._config.good_probes:
            return False
        self.settle(current)
        return True

    def settle(self, current: int | None) -> None:
        """Ready if it has the current weights, waiting for them if not."""
        is_current = self.version is not None and self.version == current
        self.state = ReplicaState.READY if is_current else ReplicaState.WAITING

    def summary(self) -> dict[str, Any]:
        """Its facts for people and tests."""
        numbers = {"version": self.version, "working": self.working, "busy_s": self.busy_s}
        return {"state": str(self.state), "reason": self.reason} | numbers
