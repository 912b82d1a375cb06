"""A vote of ranks that take steps together, held about once a second, because one at every step would be too dear."""

from __future__ import annotations

import time
from collections.abc import Callable

from prorl_mega.distributed.ranks import Ranks

SECONDS = 1.0  # between two votes
MOST_STEPS = 32  # the same in steps: the next ones may be much slower than the last ones were


class StepwiseVote:
    """Called by all `ranks` after every step that they take together.

    The first rank measures how long a step takes and says with every vote after how many steps the next one is, so
    that all of them vote after the same step, whatever their clocks say.
    """

    def __init__(self, ranks: Ranks, wants: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`wants()` is this rank's own wish; it is asked when there is a vote. The first call votes."""
        self._ranks = ranks
        self._wants = wants
        self._clock = clock
        self._steps = self._left = 1  # until the next vote, in all and still to come
        self._since = clock()

    def __call__(self) -> bool:
        """Whether a vote was held after this step and one rank at least wants it. Equal on all ranks."""
        self._left -= 1
        if self._left > 0:
            return False
        now = self._clock()
        step_s = max(1e-6, (now - self._since) / self._steps)
        votes = self._ranks.gather([self._wants(), max(1, min(MOST_STEPS, int(SECONDS / step_s)))])
        self._steps = self._left = int(votes[0][1])
        self._since = now
        return any(wants for wants, _ in votes)
