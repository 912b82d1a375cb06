"""The order in which groups go to servers."""

from __future__ import annotations

from dataclasses import replace

from helpers.fleets import order

from prorl_mega.servers.group_job import GroupJob
from prorl_mega.servers.group_queue import GroupQueue


def job(number: int, *, in_background: bool = False) -> GroupJob:
    return GroupJob(replace(order(number), in_background=in_background), lambda place, sample: None)


def test_those_in_the_background_come_last_and_what_was_begun_comes_first_of_its_kind() -> None:
    queue = GroupQueue()
    assert not queue
    awaited, behind = [job(number) for number in range(3)], [job(9, in_background=True) for _ in range(3)]
    for background, other in zip(behind[:2], awaited[:2], strict=True):
        queue.append(background)
        queue.append(other)
    queue.appendleft(behind[2])
    queue.appendleft(awaited[2])
    expected = [awaited[2], awaited[0], awaited[1], behind[2], behind[0], behind[1]]
    for each in expected:
        assert queue
        assert queue.first is each
        assert queue.popleft() is each
    assert not queue
    queue.append(behind[0])
    queue.append(awaited[0])
    queue.clear()
    assert not queue
