"""Regimes, the fit, the bound and the problems that crossed, on solve rates that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prorl_mega.evaluation.boundary_gain import fit_gain
from prorl_mega.evaluation.boundary_study import study_boundary
from prorl_mega.evaluation.crossings import crossings
from prorl_mega.evaluation.pass_at_k import most_at_k, pass_at_k
from prorl_mega.evaluation.pass_curves import from_evaluations
from prorl_mega.evaluation.regimes import Regime, regime, regime_of


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.95, 0.9), Regime.diminish),
        ((0.9, 0.9, 0.85), Regime.diminish),
        ((0.6, 0.8, 0.7), Regime.plateau),  # fell back, and is still above the base
        ((0.6, 0.8, 0.81), Regime.plateau),
        ((0.6, 0.8, 0.82), Regime.sustained),
        ((0.0, 0.0, 0.005), Regime.plateau),
        ((0.0, 0.0, 0.5), Regime.sustained),
    ],
)
def test_the_rule(values: tuple[float, float, float], expected: Regime) -> None:
    assert regime(*values) == expected


def test_a_regime_is_as_sure_as_its_problems() -> None:
    random = np.random.default_rng(0)
    values = random.random((3, 200)) * [[0.1], [0.4], [0.9]]
    found = regime_of(values.mean(axis=1).tolist(), values)
    assert found.regime is Regime.sustained
    assert found.shares is not None
    assert found.shares[Regime.sustained] == 1.0
    few = values[:, :4] * [[9.0], [1.0], [1.0]]
    shares = regime_of(few.mean(axis=1).tolist(), few).shares
    assert shares is not None
    assert math.isclose(sum(shares.values()), 1)
    assert max(shares.values()) < 1


def test_the_fit_is_that_of_least_squares() -> None:
    random = np.random.default_rng(1)
    base = random.random(40)
    last = 0.6 + 0.3 * base + 0.02 * random.standard_normal(40)
    found = fit_gain(base.tolist(), last.tolist())
    assert found is not None
    slope, intercept = np.polyfit(base, last - base, 1)
    assert found.slope == pytest.approx(slope, abs=1e-12)
    assert found.intercept == pytest.approx(intercept, abs=1e-12)
    assert found.r_squared == pytest.approx(np.corrcoef(base, last - base)[0, 1] ** 2, abs=1e-12)
    assert found.low < -0.7 < found.high
    assert fit_gain([0.1, 0.2], [0.3, 0.4]) is None
    assert fit_gain([0.1, 0.1, 0.1], [0.3, 0.4, 0.5]) is None


def test_the_interval_of_the_slope_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        base = random.random(30)
        found = fit_gain(base.tolist(), (0.5 + 0.4 * base + 0.05 * random.standard_normal(30)).tolist(), seed=trial)
        assert found is not None
        covered += found.low <= -0.6 <= found.high
    assert 0.86 <= covered / 200 <= 0.99


def test_no_distribution_of_rates_passes_the_bound() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        rates = random.beta(random.random() * 3 + 0.05, random.random() * 3 + 0.05, size=200)
        for k in (2, 3, 8, 128):
            bound = 1 - ((1 - rates.mean()) ** 2 + rates.var()) ** (k / 2)
            second = float(np.mean(1 - (1 - rates) ** 2))
            assert most_at_k(second, k) == pytest.approx(bound, abs=1e-12)
            assert np.mean(1 - (1 - rates) ** k) <= bound + 1e-12
    with pytest.raises(ValueError, match="at least 2"):
        most_at_k(0.5, 1)


def test_crossed_problems_have_bounds_for_all_of_them_together() -> None:
    first = {"a": (256, 0), "b": (256, 0), "c": (256, 3), "d": (256, 0)}
    second = {"a": (256, 1), "b": (256, 240), "c": (256, 200), "d": (256, 0)}
    found = crossings("base", first, "last", second)
    assert [each.key for each in found] == ["b", "a"]
    assert [each.is_certain for each in found] == [True, False]
    assert found[0].upper == pytest.approx(1 - (0.05 / 16) ** (1 / 256), rel=1e-12)
    assert [each.key for each in crossings("last", second, "base", first)] == []


def test_luck_is_hardly_ever_called_certain() -> None:
    """Two models with the same rates, 1,000 times: in at most 5 % a problem is wrongly said to have crossed."""
    random = np.random.default_rng(4)
    wrong = 0
    for _ in range(1000):
        rates = random.beta(0.05, 1, size=20)
        one, two = ({str(i): (64, int(c)) for i, c in enumerate(random.binomial(64, rates))} for _ in range(2))
        wrong += any(each.is_certain for each in crossings("one", one, "two", two))
    assert wrong <= 50 + 3 * math.sqrt(50)


def records(task: str, counts: list[int], samples: int) -> list[dict[str, object]]:
    return [
        {"key": f"{task}/{i}", "task": task, "samples": samples, "solved": c, "mean_reward": c / samples}
        for i, c in enumerate(counts)
    ]


def test_a_study_of_two_tasks() -> None:
    base = records("maze", [0, 0, 1, 0], 16) + records("sums", [16, 15, 0, 9], 16)
    last = records("maze", [12, 0, 16, 3], 32) + records("sums", [16, 16, 0, 0], 32)
    curves = from_evaluations({"base": base, "last": [*last, *records("new", [1], 4)]})
    study = study_boundary(curves, k=128, margin=0.01, confidence=0.95)
    assert [(each.task, each.k, each.problems) for each in study.tasks] == [
        ("all tasks", 16, 8), ("maze", 16, 4), ("sums", 16, 4),
    ]  # fmt: skip
    maze, sums = study.tasks[1:]
    assert maze.boundary[0].mean == pytest.approx(0.25)
    assert maze.boundary[1].mean == pytest.approx(np.mean([pass_at_k(32, c, 16) for c in (12, 0, 16, 3)]), abs=1e-12)
    assert maze.regime.regime is Regime.sustained
    assert sums.regime.regime is Regime.diminish
    assert [each.key for each in study.gained] == ["maze/0", "maze/3"]
    assert [each.key for each in study.lost] == ["sums/3"]
    assert maze.cover["0.5"] == [0.0, 0.25]
