"""Student's t distribution for whole degrees of freedom: the probability of an interval around zero, and its inverse.

The probability is a finite sum in powers of cos θ, tan θ = t / √ν (Student, Metron 5, 1925; Abramowitz and Stegun,
26.7.3 and 26.7.4).
"""

from __future__ import annotations

import math
from functools import lru_cache


def within(t: float, freedom: int) -> float:
    """P(|T| ≤ t) for t ≥ 0. ValueError unless freedom ≥ 1."""
    if freedom < 1:
        raise ValueError(f"freedom={freedom} must be at least 1")
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    first = 2 if freedom % 2 else 1  # factors of the sum: 2/3, 4/5, … or 1/2, 3/4, …
    term = total = 1.0
    for factor in range(first, freedom - 1, 2):
        term *= square * factor / (factor + 1)
        total += term
    if freedom % 2 == 0:
        return sine * total
    return 2 / math.pi * (angle + (sine * math.cos(angle) * total if freedom > 1 else 0.0))


@lru_cache(maxsize=256)
def half_width(freedom: int, confidence: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = `confidence`, which lies between 0 and 1."""
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return high
