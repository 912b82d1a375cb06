"""Cover@τ: the share of problems that are solved by at least the share τ of their samples (arXiv 2510.08325).

pass@k with a large k rewards a lucky guess among many; Cover@τ asks for reliability. The whole curve over τ is a step
function: pass@k is its mean under a Beta(1, k) distribution of τ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

TAUS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Thresholds that reports show: from "sometimes" to "always"."""

Counts = Sequence[tuple[int, int]]
"""(samples, solved) of every problem, samples ≥ 1."""


def cover_at(counts: Counts, tau: float) -> float:
    """The share of problems with solved ÷ samples ≥ τ; τ is read as the decimal that it is written as, so that 7 of 10
    reach 0.7. ValueError without problems, or unless 0 < τ ≤ 1."""
    if not 0 < tau <= 1:
        raise ValueError(f"tau={tau} must be above 0 and at most 1")
    if not counts:
        raise ValueError("a share of no problems does not exist")
    least = Fraction(repr(float(tau)))
    return sum(solved * least.denominator >= samples * least.numerator for samples, solved in counts) / len(counts)


def cover_curve(counts: Counts) -> list[tuple[float, float]]:
    """(τ, Cover@τ) wherever the curve falls, by rising τ: it holds from the τ before (from 0) up to this one."""
    if not counts:
        raise ValueError("a share of no problems does not exist")
    curve = []
    left = len(counts)  # problems with this rate or more
    for rate, problems in sorted(Counter(Fraction(solved, samples) for samples, solved in counts).items()):
        if rate > 0:
            curve.append((float(rate), left / len(counts)))
        left -= problems
    return curve
