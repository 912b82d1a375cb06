"""Updates whose loss or gradient is not finite: all ranks leave them out, or end."""

from __future__ import annotations

import math

from prorl_mega.errors import NumericsError
from prorl_mega.types import Metrics

SKIPPED = "optimizer/skipped"


class SkippedUpdates:
    """The judge of updates. Metrics are the same on all ranks, and so are its verdicts: no rank steps by itself."""

    def __init__(self, most: int) -> None:
        """`most` updates in a row may be left out; 0: none."""
        self._most = most
        self._in_a_row = 0

    def judge(self, metrics: Metrics) -> Metrics:
        """The metric that says whether this update is left out. Raises NumericsError for one too many."""
        broken = [key for key, value in metrics.items() if not math.isfinite(value)]
        self._in_a_row = self._in_a_row + 1 if broken else 0
        if self._in_a_row > self._most:
            before = f", after {self._most} that were left out in a row" if self._most else ""
            values = ", ".join(f"{key}={metrics[key]}" for key in broken)
            raise NumericsError(
                f"not finite: {values}{before}; the step was not applied and the last checkpoint is intact. "
                "Lower optimizer.learning_rate, or look for extreme log-probabilities in the metrics before this step"
                + ("" if self._most else "; optimizer.max_skipped_updates=2 leaves single ones out")
            )
        return {SKIPPED: float(self.is_skipped)} if self._most else {}

    @property
    def is_skipped(self) -> bool:
        """Whether the update that was judged last is left out."""
        return self._in_a_row > 0

    def finite(self, metrics: Metrics) -> Metrics:
        """`metrics` without those that made the update be left out."""
        return {key: value for key, value in metrics.items() if math.isfinite(value)} if self.is_skipped else metrics
