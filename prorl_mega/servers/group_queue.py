"""Groups that wait for a server: those that somebody waits for, and behind them what is sampled in the gaps."""

from __future__ import annotations

from collections import deque

from prorl_mega.servers.group_job import GroupJob


class GroupQueue:
    """First come, first served; groups in the background come after all others."""

    def __init__(self) -> None:
        self._awaited: deque[GroupJob] = deque()
        self._background: deque[GroupJob] = deque()

    def __bool__(self) -> bool:
        return bool(self._awaited or self._background)

    @property
    def first(self) -> GroupJob:
        return (self._awaited or self._background)[0]

    def append(self, job: GroupJob) -> None:
        self._kind(job).append(job)

    def appendleft(self, job: GroupJob) -> None:
        """Before the others of its kind: it was begun before them."""
        self._kind(job).appendleft(job)

    def popleft(self) -> GroupJob:
        return (self._awaited or self._background).popleft()

    def clear(self) -> None:
        self._awaited.clear()
        self._background.clear()

    def _kind(self, job: GroupJob) -> deque[GroupJob]:
        return self._background if job.order.in_background else self._awaited
