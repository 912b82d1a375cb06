"""Prompt curriculum: problems that the policy always or never solves are drawn more rarely.

Every unit (an entry of the mixture, or a single problem) has a running pass rate, the exponential average of the mean
verdicts of its groups:  p ← memory · p + (1 − memory) · mean.  Once `min_groups` groups have been seen, a unit with p
outside [low, high] is *dull*: only the share `rarely` of its problems is taken, evenly spread, so that
a skill that is forgotten or comes into reach is noticed. The order of the source stays; skipped problems are gone.
With `weigh_entries` the shares of the entries depend on pass rates too, and nothing is skipped (`mixture_weights.py`).

Units that are single problems need a source that repeats (a file); use entries with generators. No paper
on ProRL describes a curriculum; the rule is ours, in the spirit of sampling by pass rate (Kimi k1.5, arXiv 2501.12599).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from prorl_mega.config.recipe import CurriculumConfig, CurriculumUnit
from prorl_mega.errors import CheckpointError
from prorl_mega.protocols import ProblemSource
from prorl_mega.recipe.mixture_weights import MixtureWeights
from prorl_mega.types import Group, Metrics, Problem

PATIENCE = 50  # offers per problem wanted, then everything is taken: the whole mixture may be dull

UNITS: dict[CurriculumUnit, Callable[[Problem], str]] = {
    CurriculumUnit.entry: lambda problem: problem.task,
    CurriculumUnit.problem: lambda problem: problem.key,
}

# Keys in the state of the source.
STATE, WEIGHTS, OFFERED, OPEN = "curriculum", "weights", "offered", "open"
DRAWN = "drawn"  # the source's own count


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Seen = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Rate = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]  # of rewards, which a task may have outside of [0, 1]
_Credit = Annotated[float, msgspec.Meta(ge=-1e-6, le=1)]  # less than 1 but for rounding


class CurriculumState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The state of a curriculum in a checkpoint."""

    rates: dict[str, tuple[_Rate, _Seen]]
    credit: dict[str, _Credit]
    passed_over: _Count
    by: str = ""

    def __post_init__(self) -> None:
        if unknown := self.credit.keys() - self.rates.keys():
            raise ValueError(f"credit of {min(unknown)!r}, which has no rate")


class Curriculum:
    """Problems for the loop from a `protocols.ProblemSource`. Pure: equal calls give equal draws on every rank.

    Within a step (until `observe`) the source is asked for problems that it has not offered yet, as long as there are
    any.

    Problems that a step leaves open, because their groups are trained on in a later one, are part of the state: they
    are drawn first when a run goes on from a checkpoint, so that each is trained on once, whatever happens.
    """

    def __init__(self, source: ProblemSource, config: CurriculumConfig) -> None:
        self._source = source
        self._config = config
        self._rates: dict[str, tuple[float, int]] = {}  # unit: running pass rate, groups seen
        self._credit: dict[str, float] = {}  # dull unit: share of the next problem that has been earned
        self._passed_over = 0  # since the last `observe`
        self._offered: Counter[str] = Counter()  # keys, since the last `observe`
        self._weighting = MixtureWeights(config) if config.weigh_entries else None
        self._open: list[Problem] = []  # drawn before the last `observe`, and still to be trained on
        self._returned: list[Problem] = []  # of those; to be drawn again

    def draw(self, count: int) -> list[Problem]:
        """The next `count` problems that are not skipped; first those that have come back."""
        again, self._returned = self._returned[:count], self._returned[count:]
        self._offered.update(problem.key for problem in again)
        return again + self._draw(count - len(again)) if len(again) < count else again

    def _draw(self, count: int) -> list[Problem]:
        if self._config.by is CurriculumUnit.none:
            return self._offers(count)
        taken: list[Problem] = []
        offers = 0
        while len(taken) < count:
            for problem in self._offers(count - len(taken)):
                offers += 1
                if self._takes(problem) or offers > PATIENCE * count:
                    taken.append(problem)
                else:
                    self._passed_over += 1
        return taken

    def _offers(self, count: int) -> list[Problem]:
        problems = self._source.draw(count, self._offered)
        self._offered.update(problem.key for problem in problems)
        return problems

    def observe(self, groups: list[Group], still_open: Sequence[Problem] = ()) -> Metrics:
        """End a step: take in how its groups were scored; those without any verdict are ignored.

        `still_open` are the problems drawn so far whose groups are trained on in a later step, if at all.
        """
        self._open = list(still_open)
        self._offered = Counter(problem.key for problem in still_open)
        metrics = self._source.draw_metrics()
        if self._weighting is not None:
            metrics |= self._weighting.observe(groups)
            self._source.set_weights(self._weighting.in_force())
        return metrics | self._observe_units(groups)

    def _observe_units(self, groups: list[Group]) -> Metrics:
        if self._config.by is CurriculumUnit.none:
            return {}
        for group in groups:
            if rewards := group.rewards():
                unit = UNITS[self._config.by](group.problem)
                rate, seen = self._rates.get(unit, (0.0, 0))
                mean = float(np.mean(rewards))
                memory = self._config.memory if seen else 0.0
                self._rates[unit] = (memory * rate + (1 - memory) * mean, seen + 1)
        dull = [unit for unit in self._rates if self._is_dull(unit)]
        self._credit = {unit: self._credit.get(unit, 0.0) for unit in dull}
        passed_over, self._passed_over = self._passed_over, 0
        return {
            "curriculum/passed_over": float(passed_over),
            "curriculum/units": float(len(self._rates)),
            "curriculum/dull": float(len(dull)),
        }

    def held_out(self, per_task: int) -> list[Problem]:
        return self._source.held_out(per_task)

    def set_weights(self, weights: dict[str, float]) -> None:
        """Take in the settings' weights; those in force depend on pass rates as well if `weigh_entries` is on."""
        self._source.set_weights(weights if self._weighting is None else self._weighting.use(weights))

    def state_dict(self) -> dict[str, Any]:
        """The source's own state and the curriculum's; plain JSON values."""
        state = self._source.state_dict()
        if still_open := self._open + self._returned:
            state = state | {OPEN: msgspec.to_builtins(still_open)}
        if self._offered:
            state = state | {OFFERED: dict(self._offered)}
        if self._weighting is not None:
            state = state | {WEIGHTS: self._weighting.state_dict()}
        if self._config.by is CurriculumUnit.none:
            return state
        rates = {unit: list(each) for unit, each in self._rates.items()}
        own = {"by": self._config.by.name, "rates": rates, "credit": dict(self._credit)}
        return state | {STATE: own | {"passed_over": self._passed_over}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; one without a curriculum, or with other units, starts it afresh.

        Raises CheckpointError for a broken one.
        """
        self._source.load_state_dict(source_state(state))
        if self._weighting is not None:
            self._weighting.load_state_dict(state.get(WEIGHTS, {}))
        saved, offered = read_state(state)
        self._open, self._returned = [], read_open(state)
        if saved is None or saved.by not in ("", self._config.by.name):
            saved = CurriculumState(rates={}, credit={}, passed_over=0)
        self._rates, self._credit, self._passed_over = saved.rates, saved.credit, saved.passed_over
        self._offered = Counter(offered) - Counter(problem.key for problem in self._returned)

    def _is_dull(self, unit: str) -> bool:
        rate, seen = self._rates[unit]
        return seen >= self._config.min_groups and not self._config.low <= rate <= self._config.high

    def _takes(self, problem: Problem) -> bool:
        unit = UNITS[self._config.by](problem)
        if unit not in self._credit:
            return True
        self._credit[unit] += self._config.rarely
        if self._credit[unit] < 1 - 1e-9:  # rounding: ten times 0.1 is less than 1
            return False
        self._credit[unit] -= 1
        return True


def source_state(state: dict[str, Any]) -> dict[str, Any]:
    """The part of `Curriculum.state_dict` that is its source's."""
    return {key: value for key, value in state.items() if key not in (STATE, WEIGHTS, OFFERED, OPEN)}


def used(state: dict[str, Any]) -> int:
    """The problems of a `Curriculum.state_dict` that were drawn and are not still to be trained on; known on rank 0."""
    return int(state.get(DRAWN, 0)) - len(state.get(OPEN, []))


def read_open(state: dict[str, Any]) -> list[Problem]:
    """The problems that the step left open, in the order in which they were drawn. Raises CheckpointError."""
    try:
        return msgspec.convert(state.get(OPEN, []), list[Problem])
    except msgspec.ValidationError as error:
        raise CheckpointError(f"the problems that are still to be trained on are broken: {error}") from None


def read_state(state: dict[str, Any]) -> tuple[CurriculumState | None, dict[str, int]]:
    """The curriculum's own state, if there is one, and how often the step that goes on was offered which problems.

    Raises CheckpointError for a broken one.
    """
    try:
        saved = msgspec.convert(state[STATE], CurriculumState) if STATE in state else None
        return saved, msgspec.convert(state.get(OFFERED, {}), dict[str, _Seen])
    except msgspec.ValidationError as error:
        shown = str(state.get(STATE, state.get(OFFERED)))[:200]
        raise CheckpointError(f"the state of the curriculum is broken: {error}: {shown}") from None
