"""How often intervals contain the truth, on data whose truth is known: 1,000 repetitions each.

A share that is p in truth is observed within three standard deviations, 2 points at 95 %.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from prorl_mega.evaluation.boundary_study import study_boundary
from prorl_mega.evaluation.pass_at_k import bootstrap, bootstrap_rows, passes
from prorl_mega.evaluation.pass_curves import from_evaluations
from prorl_mega.evaluation.solve_rate import clopper_pearson, posterior

TRIALS = 1000


def margin(share: float) -> float:
    return 3 * math.sqrt(share * (1 - share) / TRIALS)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_the_posterior_of_a_rate_that_its_prior_gave(confidence: float) -> None:
    random = np.random.default_rng(0)
    rates = random.random(TRIALS)
    found = [posterior(64, int(each), confidence) for each in random.binomial(64, rates)]
    covered = np.mean([each.low <= rate <= each.high for each, rate in zip(found, rates, strict=True)])
    assert covered == pytest.approx(confidence, abs=margin(confidence))


@pytest.mark.parametrize("rate", [0.0005, 0.004, 0.3, 0.999])
@pytest.mark.parametrize("samples", [16, 1024])
def test_clopper_pearson_is_never_below_its_word(rate: float, samples: int) -> None:
    random = np.random.default_rng(1)
    found = [clopper_pearson(samples, int(each), 0.95) for each in random.binomial(samples, rate, size=TRIALS)]
    assert np.mean([each.low <= rate <= each.high for each in found]) >= 0.95 - margin(0.95)


def rates(random: np.random.Generator, problems: int) -> np.ndarray:
    """Solve rates as benchmarks have them: many near 0, some near 1."""
    return random.beta(0.3, 0.7, size=problems)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 8, 32])
def test_the_bootstrap_of_pass_at_k(k: int) -> None:
    """200 problems of a population, 64 samples each; the truth is that of the population."""
    random = np.random.default_rng(2)
    truth = float(np.mean(1 - (1 - rates(np.random.default_rng(99), 2_000_000)) ** k))
    covered = 0
    for trial in range(TRIALS):
        counts = np.column_stack([np.full(200, 64), random.binomial(64, rates(random, 200))])
        found = bootstrap(passes(counts, k), seed=trial % 7)
        covered += found.low <= truth <= found.high
    assert covered / TRIALS == pytest.approx(0.95, abs=margin(0.95))


@pytest.mark.slow
def test_the_bootstrap_of_the_gain() -> None:
    """Both models on the same problems: half of what the base lacks is gained."""
    random = np.random.default_rng(3)
    of_all = rates(np.random.default_rng(99), 2_000_000)
    truth = float(np.mean((1 - of_all) ** 8 - (1 - (1 + of_all) / 2) ** 8))
    covered = 0
    for trial in range(TRIALS):
        base = rates(random, 200)
        before, after = (
            passes(np.column_stack([np.full(200, 64), random.binomial(64, each)]), 8) for each in (base, (1 + base) / 2)
        )
        found = bootstrap_rows((after - before)[None], seed=trial % 7)[0]
        covered += found.low <= truth <= found.high
    assert covered / TRIALS == pytest.approx(0.95, abs=margin(0.95))


def records(solved: np.ndarray, samples: int) -> list[dict[str, object]]:
    return [{"key": str(i), "task": "t", "samples": samples, "solved": int(c)} for i, c in enumerate(solved)]


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_under_the_null_the_lists_are_hardly_ever_wrong(confidence: float) -> None:
    """Three models with the same rates, two of them with fewer samples: a problem that is said to have been gained or
    lost for certain is an error, and in at most 1 − confidence of all studies there is one in any of the lists."""
    random = np.random.default_rng(4)
    wrong = 0
    for _ in range(TRIALS):
        true = random.choice([0, 0.002, 0.02, 0.2], size=30)
        curves = from_evaluations(
            {name: records(random.binomial(n, true), n) for name, n in (("base", 256), ("mid", 64), ("last", 64))}
        )
        study = study_boundary(curves, k=64, margin=0.01, confidence=confidence)
        wrong += any(each.is_certain for each in [*study.gained, *study.lost])
    assert wrong / TRIALS <= 1 - confidence + margin(confidence)


def test_what_was_gained_is_found() -> None:
    """The other side of the null: rates of 0 that became a quarter are certain, all of them."""
    random = np.random.default_rng(5)
    true = np.repeat([0.0, 0.25, 0.5], 10)
    after = np.maximum(true, 0.25)
    curves = from_evaluations(
        {"base": records(random.binomial(256, true), 256), "last": records(random.binomial(256, after), 256)}
    )
    study = study_boundary(curves, k=128, margin=0.01, confidence=0.95)
    assert sorted(int(each.key) for each in study.gained if each.is_certain) == list(range(10))
    assert study.lost == []
