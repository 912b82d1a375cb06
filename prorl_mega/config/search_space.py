"""The search space of an Optuna study, written as Hydra writes sweeps.

    a=interval(0,1)   a=tag(log,interval(1e-6,1e-3))   a=int(interval(2,8))     numbers between two ends, both included
    a=range(1,9,2)    a=range(0.5,2,0.5)                                        numbers in steps, without the end
    a=x,y             a=choice(x,y)                                             one of several values, in no order

What has one value is the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, Sweep

from prorl_mega.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(kw_only=True, slots=True, frozen=True)
class SearchSpace:
    """`fixed`: overrides of every run. `ranges` by key, as Optuna samples them; `written`, as the command has them."""

    fixed: list[str]
    ranges: dict[str, BaseDistribution]
    written: dict[str, str]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> SearchSpace:
        """The last override of a key counts. Raises ConfigError for a range that cannot be searched, or without any."""
        last = {override.get_key_element().lstrip("+"): override for override in overrides}
        searched = {each.get_key_element(): each for each in last.values() if each.is_sweep_override()}
        if not searched:
            raise ConfigError(
                "a study needs a setting with several values, for example "
                "'optimizer.learning_rate=tag(log,interval(1e-6,1e-4))' or recipe.kl.coef=0,1e-4"
            )
        return cls(
            fixed=[str(each.input_line) for each in last.values() if not each.is_sweep_override()],
            ranges={key: _distribution(each) for key, each in searched.items()},
            written={key: each.get_value_string() for key, each in searched.items()},
        )

    def overrides(self, parameters: Mapping[str, Any]) -> list[str]:
        """The overrides of the run with these values."""
        return [*self.fixed, *(f"{key}={parameters[key]}" for key in self.ranges)]


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    try:
        log = _is_logarithmic(value)
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
            return kind(low, high, log=log)
        texts = list(override.sweep_string_iterator())
        if not texts:
            raise ValueError("it has no value")
        if override.is_range_sweep() and len(texts) > 1:
            numbers = list(override.sweep_iterator())
            kind = IntDistribution if all(isinstance(each, int) for each in numbers) else FloatDistribution
            low, high, step = min(numbers), max(numbers), abs(numbers[1] - numbers[0])
            return kind(low, high, log=True) if log and step == 1 else kind(low, high, step=step, log=log)
        if log:
            raise ValueError("tag(log, ...): only ranges of numbers have a scale")
        return CategoricalDistribution(sorted(set(texts)))  # in one order, also after shuffle()
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from None


def _is_logarithmic(value: Any) -> bool:
    """Whether the range has the tag `log`. Raises ValueError for another one, which would mean nothing."""
    tags = set(value.tags) if isinstance(value, Sweep) else set()
    if tags - {"log"}:
        raise ValueError(f"tag {', '.join(sorted(tags - {'log'}))}: only tag(log, ...) has a meaning")
    return "log" in tags
