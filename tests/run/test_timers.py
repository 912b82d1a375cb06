"""Seconds of the phases add up to the step, whatever is nested and whatever fails."""

import contextlib

import pytest

from prorl_mega.run.timers import PhaseTimer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nested_phases_add_up() -> None:
    clock = Clock()
    timer = PhaseTimer(clock)
    clock.now += 1
    with timer.phase("rollout"):
        clock.now += 2
        with timer.phase("verify"):
            clock.now += 4
        clock.now += 8
    clock.now += 16
    with timer.phase("rollout"):
        assert timer.current == "rollout"
        clock.now += 32
    seconds = timer.seconds()
    assert seconds == {"rollout": 42.0, "verify": 4.0, "other": 17.0, "step": 63.0}


def test_a_phase_that_raises_is_closed() -> None:
    clock = Clock()
    timer = PhaseTimer(clock)
    with contextlib.suppress(ValueError), timer.phase("update"):
        clock.now += 3
        raise ValueError
    clock.now += 5
    assert timer.current == ""
    assert timer.seconds() == pytest.approx({"update": 3.0, "other": 5.0, "step": 8.0})
