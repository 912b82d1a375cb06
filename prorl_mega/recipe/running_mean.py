"""A mean over steps in which a step counts half after some more, with everything that it remembers in two numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

LARGEST = 1e15  # of values; what is larger is no measurement, and its square would not fit
Sum = Annotated[float, msgspec.Meta(ge=-1e36, le=1e36)]


@dataclass(slots=True)
class RunningMean:
    """Σ q^i w x and Σ q^i w over the values x with weights w, the last one with i = 0; q halves in `half_life` steps.

    Plain JSON values, which go on to the bit after a resume.
    """

    total: Sum = 0.0
    weight: Annotated[float, msgspec.Meta(ge=0, le=1e36)] = 0.0

    def add(self, value: float, half_life: float, weight: float = 1.0) -> None:
        """Take in a step; with a half-life of 0 the step alone counts."""
        keeps = kept_share(half_life)
        self.total = keeps * self.total + weight * value
        self.weight = keeps * self.weight + weight

    @property
    def value(self) -> float:
        """The mean; needs a step with a weight above 0."""
        return self.total / self.weight

    def age(self, half_life: float) -> float:
        """The share of a mean over infinitely many steps, of weight 1, that it has: a half after `half_life` steps."""
        return self.weight * (1 - kept_share(half_life))


def kept_share(half_life: float) -> float:
    """The factor q with which a step counts less after one more."""
    return 0.5 ** (1 / half_life) if half_life else 0.0
