"""What rises window after window is a leak; what goes up and down, or has grown once, is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prorl_mega.run.leaks import LEAST, MEMORY_PREFIX, RISES, Leaks


def told(quantity: str, course: Callable[[int], float], steps: int) -> list[str]:
    leaks, found = Leaks(window=10), []
    for step in range(steps):
        measured = {MEMORY_PREFIX + name: 100.0 for name in LEAST}
        found += leaks.observe(measured | {MEMORY_PREFIX + quantity: course(step)})
    return found


@pytest.mark.parametrize("quantity", LEAST)
def test_a_steady_rise_is_told_again_and_again(quantity: str) -> None:
    found = told(quantity, lambda step: 100 + step // 5, 10 * (2 * RISES + 1))
    assert len(found) == 2
    assert all(f"{MEMORY_PREFIX}{quantity} rises steadily, by 2 per 10 steps" in text for text in found)


@pytest.mark.parametrize(
    "course",
    [
        lambda step: 100.0,
        lambda step: 100.0 + 50 * (step > 20),  # a cache that fills
        lambda step: 100.0 + step % 35,  # a collector
        lambda step: 1000.0 - step,
        lambda step: 100.0 + step * 0.0004,  # less than what counts
    ],
)
def test_anything_else_is_no_leak(course: Callable[[int], float]) -> None:
    assert told("resident_mib", course, 400) == []


def test_this_process_is_measured() -> None:
    measured = Leaks().measure()
    assert set(measured) == {MEMORY_PREFIX + name for name in LEAST}
    before = measured[f"{MEMORY_PREFIX}open_files"]
    with open("/dev/null"):
        assert Leaks().measure()[f"{MEMORY_PREFIX}open_files"] == before + 1
    assert measured[f"{MEMORY_PREFIX}resident_mib"] > 1
