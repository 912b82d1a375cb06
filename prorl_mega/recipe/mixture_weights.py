"""Shares of the mixture's entries by how much can be learned from them.

Every entry has a running pass rate p, as in `curriculum.py`. Its weight in the settings is multiplied by

    w(p) = floor + (1 − floor) · 4 p (1 − p)

4 p (1 − p) is the variance of a verdict over its largest value, the source of advantages. It is one where half
of the answers are right and zero where all or none are; the floor keeps every entry in the mixture, so that it is
noticed when one comes into reach or is forgotten. Until `min_groups` groups of an entry have been seen, w is one. No
paper on ProRL describes this; the rule is ours.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from prorl_mega.config.recipe import CurriculumConfig
from prorl_mega.errors import CheckpointError
from prorl_mega.types import Group, Metrics

Rates = dict[str, tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], Annotated[int, msgspec.Meta(ge=1, le=2**53)]]]
"""Running pass rate and groups seen, by entry or problem."""


class MixtureWeights:
    """Running pass rates of entries. Pure: equal observations give equal weights on every rank."""

    def __init__(self, config: CurriculumConfig) -> None:
        self._config = config
        self._rates: dict[str, tuple[float, int]] = {}  # entry: running pass rate, groups seen
        self._weights: dict[str, float] = {}  # of the settings

    def use(self, weights: dict[str, float]) -> dict[str, float]:
        """Take in the weights of the settings; returns those in force."""
        self._weights = dict(weights)
        return self.in_force()

    def in_force(self) -> dict[str, float]:
        """Weights of the settings times w(p)."""
        return {entry: weight * self._factor(entry) for entry, weight in self._weights.items()}

    def observe(self, groups: list[Group]) -> Metrics:
        """Take in how groups were scored. Returns the share and the running pass rate of every entry."""
        for group in groups:
            if rewards := group.rewards():
                rate, seen = self._rates.get(group.problem.task, (0.0, 0))
                memory = self._config.memory if seen else 0.0
                mean = min(1.0, max(0.0, float(np.mean(rewards))))
                self._rates[group.problem.task] = (memory * rate + (1 - memory) * mean, seen + 1)
        weights = self.in_force()
        total = sum(weights.values())
        metrics = {f"share/{entry}": weight / total for entry, weight in weights.items() if total > 0}
        return metrics | {f"pass_rate/{entry}": rate for entry, (rate, _) in sorted(self._rates.items())}

    def state_dict(self) -> dict[str, list[float]]:
        return {entry: list(each) for entry, each in self._rates.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Continue from `state`. Raises CheckpointError for a broken one."""
        try:
            self._rates = msgspec.convert(state, Rates)
        except msgspec.ValidationError as error:
            raise CheckpointError(
                f"the state of the mixture's weights is broken: {error}: {str(state)[:200]}"
            ) from None

    def _factor(self, entry: str) -> float:
        rate, seen = self._rates.get(entry, (0.0, 0))
        if seen < self._config.min_groups:
            return 1.0
        floor = self._config.weight_floor
        return floor + (1 - floor) * 4 * rate * (1 - rate)
