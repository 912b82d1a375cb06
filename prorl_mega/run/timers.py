"""The seconds of each phase of a step. A nested phase counts for itself only, so that the parts add up to the whole."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

TIMING_PREFIX = "seconds/"
"""The prefix of all metrics that depend on the machine's speed; the others, but memory, are reproducible."""

VERIFIER_PREFIX = f"{TIMING_PREFIX}verifier_"
"""The prefix of verifiers' times, which run in parallel with the phases and are no part of the step's sum."""

SERVERS_PREFIX = f"{TIMING_PREFIX}servers_"
"""The prefix of times of vLLM servers, which are a part of a phase, or beside all of them."""

SERVERS_IDLE = f"{SERVERS_PREFIX}idle"
"""Seconds of a step in which a server had nothing to sample, the mean of the servers."""


class PhaseTimer:
    """Seconds per named phase since it was made. `clock` returns seconds and never goes backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, earlier: Mapping[str, float] | None = None) -> None:
        """`earlier`: what `seconds` returned for the first part of the same work, in another process."""
        self._clock = clock
        self._switched = clock()  # when the innermost phase last changed
        self._open: list[str] = []
        self._seconds: dict[str, float] = {"": 0.0}  # "": what no phase covers
        for name, seconds in (earlier or {}).items():
            if name != "step":
                self._seconds["" if name == "other" else name] = seconds

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds inside for `name`, except those of phases that are opened inside it."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @property
    def current(self) -> str:
        """The innermost open phase, or an empty string."""
        return self._open[-1] if self._open else ""

    def seconds(self) -> dict[str, float]:
        """Seconds per phase, "other" for what no phase covers, and "step" for their sum."""
        self._charge()
        parts = {name: value for name, value in self._seconds.items() if name}
        return {**parts, "other": self._seconds[""], "step": sum(self._seconds.values())}

    def _charge(self) -> None:
        now = self._clock()
        self._seconds[self.current] = self._seconds.get(self.current, 0.0) + now - self._switched
        self._switched = now
