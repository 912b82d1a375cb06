"""pass@B: the probability of solving a problem with a budget of B tokens, spent on one sample after the other.

A model whose answers take twice the tokens gets half the samples. The estimator: with m the mean tokens of the model's
answers to this problem, B buys B / m samples on average; a whole number of them is drawn, the one below or the one
above, with the chances that make B / m the mean. The tokens spent are then B on average (Wald), and

    pass@B = (1 − f) · pass@⌊B/m⌋ + f · pass@⌈B/m⌉,  f = B/m − ⌊B/m⌋,  pass@0 = 0

with the unbiased estimates of pass@k. Where B buys more samples than there are, all of them count: a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prorl_mega.evaluation.pass_at_k import passes


class Spending(NamedTuple):
    """The samples of one problem and what they cost."""

    samples: int
    solved: int
    tokens: float  # mean per answer, above 0


class BudgetPass(NamedTuple):
    """pass@B of every problem, `[problems]`, and how many of them are lower bounds for want of samples."""

    values: np.ndarray
    bounded: int


def pass_at_budget(problems: Sequence[Spending], budget: float) -> BudgetPass:
    """pass@`budget` of every problem. ValueError unless every problem has samples and tokens, and for a budget < 0."""
    if budget < 0 or any(each.samples < 1 or each.tokens <= 0 for each in problems):
        raise ValueError("a budget must not be negative, and every problem needs samples of at least one token")
    bought = np.array([min(budget / each.tokens, each.samples) for each in problems])
    below = np.floor(bought).astype(np.int64)
    above = np.ceil(bought).astype(np.int64)
    share = bought - below
    values = (1 - share) * _passes(problems, below) + share * _passes(problems, above)
    return BudgetPass(values=values, bounded=sum(budget / each.tokens > each.samples for each in problems))


def _passes(problems: Sequence[Spending], sizes: np.ndarray) -> np.ndarray:
    """pass@k of every problem with its own k, `[problems]`; 0 for k = 0."""
    counts = np.array([(each.samples, each.solved) for each in problems])
    values = np.zeros(len(problems))
    for k in np.unique(sizes[sizes > 0]).tolist():
        chosen = sizes == k
        values[chosen] = passes(counts[chosen], k)
    return values
