"""A group that is being sampled: which samples there are already, and where it failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from prorl_mega.errors import ProRLError
from prorl_mega.servers.answers import GroupOrder, VersionedSample


class GroupJob:
    """One order and its only outcome: all samples in the order of the seeds, or one error."""

    def __init__(self, order: GroupOrder, arrived: Callable[[int, VersionedSample], None]) -> None:
        """`arrived` is called once for each sample, with its place among the seeds."""
        self.order = order
        self._arrived = arrived
        self.outcome: Future[list[VersionedSample]] = Future()
        self.samples: list[VersionedSample | None] = [None] * len(order.seeds)
        self.failures: list[str] = []
        self.avoided: set[str] = set()  # servers that failed over it

    @property
    def missing(self) -> list[int]:
        """The samples that are not there yet, by their place among the seeds."""
        return [place for place, sample in enumerate(self.samples) if sample is None]

    def add(self, place: int, sample: VersionedSample) -> None:
        self.samples[place] = sample
        if not self.outcome.done():
            self._arrived(place, sample)

    def finish(self) -> None:
        if not self.outcome.done():
            self.outcome.set_result([sample for sample in self.samples if sample is not None])

    def fail(self, error: ProRLError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
