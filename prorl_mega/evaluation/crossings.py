"""Problems that one model never solved in its samples and another one solves: what a wider boundary is made of.

"Never in n samples" is no proof: a rate of 0.1 % gives it to 77 % of problems at n = 256. So each problem comes with
the exact upper bound of the rate of the model that never solved it and the exact lower bound of the other's, both
corrected (Bonferroni) for all problems that were looked at: where the bounds are apart, luck is ruled out at the stated
confidence for the whole list at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prorl_mega.evaluation.solve_rate import at_least, at_most


@dataclass(kw_only=True, slots=True, frozen=True)
class Crossing:
    """One problem: `never` did not solve it in `tried` samples, `solver` solved `solved` of `samples`."""

    key: str
    never: str
    solver: str
    tried: int
    samples: int
    solved: int
    upper: float  # bound of the rate of `never`
    lower: float  # bound of the rate of `solver`

    @property
    def is_certain(self) -> bool:
        """Whether luck is ruled out: the two bounds are apart."""
        return self.lower > self.upper


Counts = Mapping[str, tuple[int, int]]
"""(samples, solved) by the key of the problem."""


def crossings(
    never: str, first: Counts, solver: str, second: Counts, *, confidence: float = 0.95, lists: int = 2
) -> list[Crossing]:
    """The problems that `first` never solved and `second` did, the surest first.

    Both have the same problems. `confidence` is that of `lists` such lists together: each could have had every problem,
    with two bounds.
    """
    error = (1 - confidence) / (2 * lists * max(len(first), 1))
    found = []
    for key, (tried, zero) in first.items():
        samples, solved = second[key]
        if zero == 0 and solved > 0:
            found.append(
                Crossing(
                    key=key,
                    never=never,
                    solver=solver,
                    tried=tried,
                    samples=samples,
                    solved=solved,
                    upper=at_most(tried, 0, error),
                    lower=at_least(samples, solved, error),
                )
            )
    return sorted(found, key=lambda each: (-each.lower, each.key))
