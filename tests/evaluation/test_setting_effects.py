"""Effects of settings: pairs and groups, and how often chance alone is taken for an effect."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from prorl_mega.evaluation.setting_effects import Observed, SettingEffect, setting_effects
from prorl_mega.evaluation.student_t import half_width, within

PROBLEMS = 50


def factorial(
    score: Callable[[dict[str, str], int], float], *, seeds: int = 3, noise: float = 0.0, dice: int = 0
) -> list[SettingEffect]:
    """The effects in a sweep of a=0,1 b=0,1,2 over seeds, in which `score` and a scatter of runs decide."""
    random = np.random.default_rng(dice)
    ease = random.normal(0, 0.1, PROBLEMS)
    runs = []
    for a, b, seed in itertools.product("01", "012", range(seeds)):
        values = {"a": a, "b": b}
        mean = score(values, seed) + noise * random.normal()
        runs.append(Observed(values, values, seed, mean + ease))
    return setting_effects(runs, {"a": ["0", "1"], "b": ["0", "1", "2"]})


def searched(
    score: Callable[[float], float], *, runs: int = 21, noise: float = 0.05, dice: int = 0
) -> list[SettingEffect]:
    """The effects in a random search over x, in three groups, and over a category."""
    random = np.random.default_rng(dice)
    found = []
    for place in range(runs):
        x, kind = float(random.uniform()), str(random.choice(["k", "l"]))
        group = ["low", "middle", "high"][int(x * 3)]
        found.append(
            Observed(
                {"x": str(x), "kind": kind},
                {"x": group, "kind": kind},
                place,
                np.full(PROBLEMS, score(x) + noise * random.normal()),
            )
        )
    return setting_effects(found, {"x": ["low", "middle", "high"], "kind": ["k", "l"]})


def named(effects: list[SettingEffect], name: str) -> SettingEffect:
    return next(each for each in effects if each.setting == name)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.7062),
        (2, 4.30265),
        (3, 3.18245),
        (4, 2.77645),
        (5, 2.57058),
        (10, 2.22814),
        (30, 2.04227),
        (120, 1.97993),
    ],
)
def test_quantiles_of_student(freedom: int, quantile: float) -> None:
    """From printed tables of the two-sided 5 % points."""
    assert half_width(freedom) == pytest.approx(quantile, rel=1e-5)
    assert within(quantile, freedom) == pytest.approx(0.95, abs=1e-6)


def test_an_effect_is_found_by_pairs_under_a_larger_difference_between_seeds() -> None:
    effects = factorial(lambda values, seed: 0.1 * (values["a"] == "1") + 0.2 * seed, noise=0.005)
    a, b = named(effects, "a"), named(effects, "b")
    assert effects[0] is a
    assert a.method == "pairs"
    assert a.mattered
    second = a.values[1]
    assert second.difference is not None
    assert (second.value, second.runs, second.pairs) == ("1", 9, 9)
    assert second.difference.mean == pytest.approx(0.1, abs=0.01)
    assert second.difference.low < 0.1 < second.difference.high
    assert second.difference.high - second.difference.low < 0.02
    assert not b.mattered
    assert [each.pairs for each in b.values] == [0, 6, 6]


@pytest.mark.parametrize("method", ["pairs", "groups"])
def test_chance_alone_is_taken_for_an_effect_as_seldom_as_promised(method: str) -> None:
    """In 5 % of sweeps at least one of the settings would be named; 200 sweeps leave room for twice as many."""
    alarms = 0
    for trial in range(200):
        if method == "pairs":
            effects = factorial(lambda values, seed: 0.1 * seed, noise=0.05, dice=trial)
        else:
            effects = searched(lambda x: 0.5, runs=12, dice=trial)
        assert {each.method for each in effects} == {method}
        alarms += any(each.mattered for each in effects)
    assert alarms <= 20, alarms


def test_a_setting_with_many_values_has_no_more_chances_than_others() -> None:
    names, alarms = [str(value) for value in range(7)], 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        runs = [
            Observed({"a": a}, {"a": a}, seed, np.full(PROBLEMS, 0.5 + 0.05 * random.normal()))
            for a in names
            for seed in range(5)
        ]
        alarms += setting_effects(runs, {"a": names})[0].mattered
    assert alarms <= 20, alarms


def test_a_search_finds_an_optimum_in_the_middle_and_leaves_the_category_alone() -> None:
    effects = searched(lambda x: 0.5 - 2 * (x - 0.5) ** 2)
    x, kind = named(effects, "x"), named(effects, "kind")
    assert (x.method, x.mattered, kind.mattered) == ("groups", True, False)
    assert x.share is not None
    assert x.chance is not None
    assert x.share > x.chance
    assert max(x.values, key=lambda each: each.mean).value == "middle"


def test_settings_that_differ_with_another_one_are_compared_in_pairs_alone() -> None:
    """b=1 was only tried with a=1, which is better: the groups differ, the pairs do not."""
    random = np.random.default_rng(0)
    runs = []
    for a, b in (("0", "0"), ("1", "0"), ("1", "1")):
        for seed in range(4):
            values = {"a": a, "b": b}
            runs.append(Observed(values, values, seed, np.full(PROBLEMS, 0.3 * int(a) + 0.01 * random.normal())))
    effects = setting_effects(runs, {"a": ["0", "1"], "b": ["0", "1"]})
    rarer = named(effects, "b")
    assert rarer.size > 0.1
    assert (rarer.method, rarer.mattered) == ("pairs", False)
    assert named(effects, "a").mattered


def test_one_pair_shows_a_difference_and_no_certainty() -> None:
    runs = [Observed({"a": a}, {"a": a}, 1, np.full(PROBLEMS, 0.5 * int(a))) for a in "01"]
    (effect,) = setting_effects(runs, {"a": ["0", "1"]})
    assert (effect.method, effect.p, effect.mattered) == ("none", None, False)
    assert (effect.values[1].mean_difference, effect.values[1].difference) == (0.5, None)


def test_pairs_that_agree_exactly_are_as_uncertain_as_the_problems_are_few() -> None:
    """Six problems, one of which is solved in addition: every pair says +1/6."""
    runs = [
        Observed({"a": a}, {"a": a}, seed, np.array([1.0, 0, 0, 0, 0, float(a)])) for a in "01" for seed in range(3)
    ]
    (effect,) = setting_effects(runs, {"a": ["0", "1"]})
    assert effect.values[1].difference is not None
    assert effect.values[1].difference.low < 0 < effect.values[1].difference.high
    assert not effect.mattered


def test_runs_that_are_alike_count_as_one() -> None:
    scores = [("0", 0.2), ("0", 0.4), ("1", 0.5), ("0", 0.3), ("1", 0.5)]
    seeds = [1, 1, 1, 2, 2]
    runs = [
        Observed({"a": a}, {"a": a}, seed, np.full(4, score)) for (a, score), seed in zip(scores, seeds, strict=True)
    ]
    (effect,) = setting_effects(runs, {"a": ["0", "1"]})
    assert effect.values[1].pairs == 2
    assert effect.values[1].mean_difference == pytest.approx(0.2)


def test_values_without_a_run() -> None:
    runs = [Observed({"a": "0"}, {"a": "0"}, seed, np.full(4, 0.5)) for seed in range(3)]
    (effect,) = setting_effects(runs, {"a": ["0", "1"]})
    assert effect.method == "none"
    assert [each.runs for each in effect.values] == [3, 0]
