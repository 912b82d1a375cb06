"""How prolonged training moved the boundary of a task: Diminish, Plateau or Sustained, where it could be moved at all.

ProRL (arXiv 2505.24864, section 4) tells the three apart by eye. Here they are a rule on three numbers, pass@k at the
boundary of the base, of the model before the last (an intermediate checkpoint; the base itself where two models are
compared) and of the last one:

    at the floor    all three are 0.000           no model solves anything: the task is too hard to tell
    at the ceiling  all three are 1.000           every model solves everything: there was nothing to gain
    Diminish        last ≤ base                        nothing is solved that the base could not
    Plateau         last > base, last − before ≤ margin    it was widened, and the later training added nothing
    Sustained       last > base, last − before > margin    the later training widened it further

How sure that is: the share of resampled sets of problems (bootstrap) for which the rule gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from prorl_mega.evaluation.pass_at_k import occurrences

MARGIN = 0.01
_ROUNDING = 1e-9  # of differences of shares: 0.81 − 0.8 is 0.01
_VISIBLE = 0.0005  # of a share with three digits
RESAMPLES = 1000


class Regime(Enum):
    floor = "at the floor"
    ceiling = "at the ceiling"
    diminish = "Diminish"
    plateau = "Plateau"
    sustained = "Sustained"


@dataclass(kw_only=True, slots=True, frozen=True)
class RegimeOfTask:
    """`shares` of resampled problem sets by regime; None where no problems are known."""

    regime: Regime
    shares: dict[Regime, float] | None


def regime(base: float, before: float, last: float, margin: float = MARGIN) -> Regime:
    """The rule. `before` is pass@k of the model before the last."""
    if max(base, before, last) < _VISIBLE:
        return Regime.floor
    if min(base, before, last) > 1 - _VISIBLE:
        return Regime.ceiling
    if last <= base + _ROUNDING:
        return Regime.diminish
    return Regime.sustained if last - before > margin + _ROUNDING else Regime.plateau


def regime_of(means: list[float], values: np.ndarray | None, margin: float = MARGIN, seed: int = 0) -> RegimeOfTask:
    """The regime for pass@k of two or more models in order, `values` `[models, problems]` those of every problem."""
    found = regime(means[0], means[-2], means[-1], margin)
    if values is None:
        return RegimeOfTask(regime=found, shares=None)
    problems = values.shape[1]
    resampled = occurrences(problems, RESAMPLES, seed) @ values[[0, -2, -1]].T / problems  # [resamples, 3]
    names = [regime(base, before, last, margin) for base, before, last in resampled.tolist()]
    return RegimeOfTask(regime=found, shares={each: names.count(each) / RESAMPLES for each in Regime})
