"""The effect of each setting on the score of a set of runs, with an uncertainty that is honest for few runs.

Where at least half of the runs with the rarer value are in pairs that differ in this setting alone, and have the same
seed, the effect is the mean of the paired differences. Its error has two parts: the pairs disagree, because of their
seeds and of their other settings, and the held-out problems are a sample. Intervals are Student's, from the
disagreement of the pairs: wide for two pairs, and there is none for one.

Otherwise (a random search, an Optuna study, a number with many values) runs are put into groups by the setting's value,
and the question is how much of the spread of the scores' ranks lies between the groups: more than after shuffling the
scores (a permutation test)? The other settings are noise then, and where they differ between the groups, the difference
may be theirs. A search that looked at earlier scores has not chosen at random either, so this is a guide.

Several settings are several chances to be misled: a setting has mattered if its p-value, corrected for the number of
its values (Bonferroni) and of the settings (Holm), is below 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from prorl_mega.evaluation.pass_at_k import Estimate
from prorl_mega.evaluation.student_t import half_width, within

SIGNIFICANT = 0.05
SHUFFLES = 4000
Method = Literal["pairs", "groups", "none"]


class ValueEffect(NamedTuple):
    """One value of a setting: the mean score of its runs, and what it changes against the setting's first value.

    `difference` is None for the first value, and where there is nothing to tell the noise by; `mean_difference` is None
    where there is nothing to compare. `pairs`: of runs that differ in this setting alone; 0 where groups are compared.
    """

    value: str
    runs: int
    mean: float
    pairs: int = 0
    mean_difference: float | None = None
    difference: Estimate | None = None

    def clearness(self) -> float:
        """The difference in half widths of its interval; above 1 it excludes zero. 0 without one."""
        if self.difference is None:
            return 0.0
        width = (self.difference.high - self.difference.low) / 2
        return abs(self.difference.mean) / width if width else math.inf if self.difference.mean else 0.0


@dataclass(kw_only=True, slots=True, frozen=True)
class SettingEffect:
    """`p` of "it makes no difference", None where that cannot be tested; `corrected` for all settings together.

    `share`, of groups: the part of the spread of ranks between them, and `chance`, what shuffled scores stay below in
    95 of 100 cases.
    """

    setting: str
    values: tuple[ValueEffect, ...]
    method: Method
    p: float | None = None
    corrected: float | None = None
    share: float | None = None
    chance: float | None = None

    @property
    def mattered(self) -> bool:
        return self.corrected is not None and self.corrected < SIGNIFICANT

    @property
    def size(self) -> float:
        """The largest difference between means of two values."""
        means = [each.mean for each in self.values if each.runs]
        return max(means) - min(means) if means else 0.0


class Observed(NamedTuple):
    """A run that has a score: its values by setting, the groups that they are compared in, its seed, and the score of
    every problem, `[problems]`."""

    values: dict[str, str]
    groups: dict[str, str]
    seed: Hashable
    scores: np.ndarray


def setting_effects(runs: Sequence[Observed], groups: dict[str, Sequence[str]]) -> list[SettingEffect]:
    """The effects of all settings, the clearest first. `groups`: those of each setting in their order."""
    found = [_effect(runs, setting, list(order)) for setting, order in groups.items()]
    return sorted(_corrected(found), key=lambda each: (each.p if each.p is not None else 2.0, -each.size))


def _effect(runs: Sequence[Observed], setting: str, order: list[str]) -> SettingEffect:
    of_value = {value: [run for run in runs if run.groups[setting] == value] for value in order}
    known = [value for value in order if of_value[value]]
    if len(known) < 2:
        plain = tuple(_plain(each, of_value[each]) for each in order)
        return SettingEffect(setting=setting, values=plain, method="none")
    first, pairs = known[0], {value: _pairs(runs, setting, known[0], value) for value in known[1:]}
    rarer = {value: min(len(of_value[first]), len(of_value[value])) for value in pairs}
    if all(len(each) >= 2 and 2 * len(each) >= rarer[value] for value, each in pairs.items()):
        return _by_pairs(setting, first, pairs, {value: of_value[value] for value in order})
    if (found := _by_groups(setting, {value: of_value[value] for value in known})) is not None:
        return found
    effects = [_plain(value, of_value[value]) for value in order]
    single = [
        each._replace(pairs=len(pairs[each.value]), mean_difference=float(np.mean(_differences(pairs[each.value]))))
        if pairs.get(each.value)
        else each
        for each in effects
    ]
    return SettingEffect(setting=setting, values=tuple(single), method="none")


def _plain(value: str, runs: list[Observed]) -> ValueEffect:
    return ValueEffect(value, len(runs), float(np.mean([run.scores.mean() for run in runs])) if runs else math.nan)


Pair = tuple[np.ndarray, np.ndarray]


def _pairs(runs: Sequence[Observed], setting: str, first: str, value: str) -> list[Pair]:
    """Scores of runs with `first` and with `value` that are alike in all else; none for groups of several values."""
    if any(run.groups[setting] != run.values[setting] for run in runs):
        return []

    def all_else(run: Observed) -> Hashable:
        return run.seed, tuple(sorted((name, text) for name, text in run.values.items() if name != setting))

    found: dict[str, dict[Hashable, list[np.ndarray]]] = {first: {}, value: {}}
    for run in runs:
        if run.groups[setting] in found:  # several runs of one seed are one
            found[run.groups[setting]].setdefault(all_else(run), []).append(run.scores)
    before, after = found[first], found[value]
    return [(np.mean(before[key], axis=0), np.mean(after[key], axis=0)) for key in before if key in after]


def _differences(pairs: list[Pair]) -> np.ndarray:
    return np.array([float((after - before).mean()) for before, after in pairs])


def _by_pairs(
    setting: str, first: str, pairs: dict[str, list[Pair]], of_value: dict[str, list[Observed]]
) -> SettingEffect:
    effects, chances = [], []
    for value, runs in of_value.items():
        effect = _plain(value, runs)
        if value in pairs:
            differences = _differences(pairs[value])
            per_problem = np.mean([after - before for before, after in pairs[value]], axis=0)
            error = differences.var(ddof=1) / len(differences) + per_problem.var() / len(per_problem)
            estimate, p = _student(float(differences.mean()), math.sqrt(error), len(differences) - 1)
            chances.append(p)
            effect = effect._replace(pairs=len(differences), mean_difference=estimate.mean, difference=estimate)
        effects.append(effect)
    return SettingEffect(
        setting=setting, values=tuple(effects), method="pairs", p=min(1.0, min(chances) * len(chances))
    )  # fmt: skip


def _student(mean: float, error: float, freedom: int) -> tuple[Estimate, float]:
    """The interval around a mean with this standard error, and the probability of one as far from zero by chance."""
    width = error * half_width(freedom)
    p = 1 - within(abs(mean) / error, freedom) if error > 0 else float(mean == 0)
    return Estimate(mean, mean - width, mean + width), p


def _by_groups(setting: str, of_value: dict[str, list[Observed]]) -> SettingEffect | None:
    """None where there are too few runs to say anything: not more than groups, or not one group of two."""
    groups = [np.array([run.scores.mean() for run in runs]) for runs in of_value.values()]
    scores, sizes = np.concatenate(groups), [len(each) for each in groups]
    freedom = len(scores) - len(groups)
    if freedom < 2:
        return None
    ranks = _ranks(scores)
    label = np.repeat(np.arange(len(groups)), sizes)
    dice = np.random.default_rng(0)
    shuffled = _share_between(dice.permuted(np.tile(ranks, (SHUFFLES, 1)), axis=1), label)
    share = float(_share_between(ranks[None], label)[0])
    spread = math.sqrt(sum(float(((each - each.mean()) ** 2).sum()) for each in groups) / freedom)
    effects: list[ValueEffect] = []
    for value, group in zip(of_value, groups, strict=True):
        effect = _plain(value, of_value[value])
        if effects:
            error = spread * math.sqrt(1 / len(groups[0]) + 1 / len(group))
            estimate, _ = _student(float(group.mean() - groups[0].mean()), error, freedom)
            effect = effect._replace(mean_difference=estimate.mean, difference=estimate)
        effects.append(effect)
    return SettingEffect(
        setting=setting,
        values=tuple(effects),
        method="groups",
        p=float((1 + (shuffled >= share - 1e-12).sum()) / (1 + SHUFFLES)),
        share=share,
        chance=float(np.quantile(shuffled, 0.95)),
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values with the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def _share_between(ranks: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The part of each row's sum of squares that lies between groups, from 0 to 1; `ranks` `[rows, runs]`."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    member = np.eye(label.max() + 1)[label]  # [runs, groups]
    between = ((centred @ member) ** 2 / member.sum(axis=0)).sum(axis=1)
    total = (centred**2).sum(axis=1)
    return np.divide(between, total, out=np.zeros(len(ranks)), where=total > 0)


def _corrected(effects: list[SettingEffect]) -> list[SettingEffect]:
    """The same with p-values for all settings together (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    tested = sorted((each for each in effects if each.p is not None), key=lambda each: each.p or 0.0)
    least, found = 0.0, {}
    for place, each in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - place) * (each.p or 0.0)))
        found[each.setting] = least
    return [replace(each, corrected=found.get(each.setting)) for each in effects]
