import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import AdvantageConfig, AdvantageEstimator, BatchMoments, GroupStd
from prorl_mega.recipe.advantage import EPSILON, ESTIMATORS, POINTS, ByGroup, Rewards, advantages

reward = st.floats(0, 1, allow_subnormal=False)
groups_of_rewards = st.lists(st.lists(reward, min_size=1, max_size=12), max_size=5)
OWN = str(Path(__file__).parents[2] / "examples" / "my_advantage.py") + ":maxrl"
RNG = np.random.default_rng(0)


def of(
    kind: str,
    groups: list[list[float]],
    *,
    lengths: list[list[int]] | None = None,
    penalties: list[list[list[float]]] | None = None,
    **changes: object,
) -> ByGroup:
    lengths = [[5] * len(group) for group in groups] if lengths is None else lengths
    rewards = Rewards(
        values=[np.array(group, dtype=np.float64) for group in groups],
        lengths=[np.array(group, dtype=int) for group in lengths],
        penalties=None if penalties is None else [[np.array(each) for each in group] for group in penalties],
    )
    return advantages(rewards, AdvantageConfig(estimator=kind, **changes))  # type: ignore[arg-type]


def test_one_of_ones_own_is_what_it_says() -> None:
    """Divided by the mean, a prompt that is solved once in eight counts as much as one that is solved every time."""
    assert of(OWN, [[1, 0, 0, 0], [1, 1, 1, 0]]) == [[3.0, -1.0, -1.0, -1.0], [1 / 3, 1 / 3, 1 / 3, -1.0]]


def test_every_kind_has_an_estimator() -> None:
    assert set(ESTIMATORS) == set(AdvantageEstimator)
    assert set(POINTS) == set(BatchMoments)


def test_grpo_by_hand() -> None:
    (group,) = of(AdvantageEstimator.grpo, [[1, 0, 0, 1, 0]])
    spread = np.sqrt((2 * 0.6**2 + 3 * 0.4**2) / 4) + EPSILON  # n − 1
    assert group == pytest.approx([each / spread for each in (0.6, -0.4, -0.4, 0.6, -0.4)], rel=1e-12)
    (group,) = of(AdvantageEstimator.grpo, [[1, 0, 0, 1, 0]], group_std=GroupStd.population)
    spread = np.sqrt((2 * 0.6**2 + 3 * 0.4**2) / 5) + EPSILON
    assert group == pytest.approx([each / spread for each in (0.6, -0.4, -0.4, 0.6, -0.4)], rel=1e-12)


def test_dr_grpo_by_hand() -> None:
    assert of(AdvantageEstimator.dr_grpo, [[1, 0, 0, 1]]) == [[0.5, -0.5, -0.5, 0.5]]


def test_rloo_against_the_mean_of_the_others() -> None:
    rewards = RNG.random(7).tolist()
    (group,) = of(AdvantageEstimator.rloo, [rewards])
    for i, value in enumerate(group):
        others = [each for j, each in enumerate(rewards) if j != i]
        assert value == pytest.approx(rewards[i] - sum(others) / 6, rel=1e-12)


def plain_reinforce(groups: list[list[float]], lengths: list[list[int]], baseline: bool, by_token: bool) -> np.ndarray:
    """Sample by sample, a token-weighted batch being one with each value repeated."""
    values, counts = [], []
    for group, each in zip(groups, lengths, strict=True):
        mean = sum(group) / len(group) if baseline else 0.0
        values += [value - mean for value in group]
        counts += each
    batch = [value for value, count in zip(values, counts, strict=True) for _ in range(count if by_token else 1)]
    mean = math.fsum(batch) / len(batch)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in batch) / len(batch))
    return np.array([(value - mean) / (std + EPSILON) for value in values])


@pytest.mark.parametrize("moments", list(BatchMoments))
@pytest.mark.parametrize("kind", [AdvantageEstimator.reinforce_pp, AdvantageEstimator.reinforce_pp_baseline])
def test_reinforce_by_hand(kind: AdvantageEstimator, moments: BatchMoments) -> None:
    groups = [RNG.random(4).tolist(), RNG.random(3).tolist(), [0.25, 0.25]]
    lengths = [[1, 9, 3, 2], [7, 1, 20], [4, 5]]
    found = of(kind, groups, lengths=lengths, batch_moments=moments)
    wanted = plain_reinforce(
        groups, lengths, kind is AdvantageEstimator.reinforce_pp_baseline, moments is BatchMoments.token
    )
    np.testing.assert_allclose(np.concatenate([np.array(group) for group in found]), wanted, rtol=1e-9, atol=1e-12)


def test_groups_without_spread() -> None:
    """Zero for those that compare within the group; what the docstring says for those that look at the batch."""
    groups = [[0.1] * 7, [1.0, 0.0, 0.0]]
    lengths = [[10] * 7, [50, 1, 1]]
    for kind in (AdvantageEstimator.grpo, AdvantageEstimator.dr_grpo, AdvantageEstimator.rloo):
        assert of(kind, groups, lengths=lengths)[0] == [0.0] * 7
    assert max(of(AdvantageEstimator.reinforce_pp, groups, lengths=lengths)[0]) < -0.1, "below the batch"
    per_sample = of(AdvantageEstimator.reinforce_pp_baseline, groups, lengths=lengths)[0]
    assert per_sample == pytest.approx([0.0] * 7, abs=1e-14)
    per_token = of(AdvantageEstimator.reinforce_pp_baseline, groups, lengths=lengths, batch_moments=BatchMoments.token)[
        0
    ]
    assert max(per_token) < -0.1, "long answers are the good ones here, so the mean token is above the group's mean"


@pytest.mark.parametrize("kind", [*AdvantageEstimator, OWN])
@pytest.mark.parametrize("moments", list(BatchMoments))
@pytest.mark.parametrize("group", [[], [0.3], [0.1] * 7, [1.0] * 16, [0.0] * 3])
def test_a_batch_without_spread_has_exactly_no_signal(kind: str, moments: BatchMoments, group: list[float]) -> None:
    assert of(kind, [group], batch_moments=moments) == [[0.0] * len(group)]


def test_what_is_not_trained_on_has_no_weight_in_token_moments() -> None:
    kind, moments = AdvantageEstimator.reinforce_pp, BatchMoments.token
    filtered = of(kind, [[1.0, 0.0, 0.5]], lengths=[[4, 4, 0]], batch_moments=moments)
    assert filtered[0][:2] == of(kind, [[1.0, 0.0]], lengths=[[4, 4]], batch_moments=moments)[0]
    assert of(kind, [[1.0, 0.0]], lengths=[[0, 0]], batch_moments=moments) == [[0.0, 0.0]]


@pytest.mark.parametrize("kind", [AdvantageEstimator.grpo, AdvantageEstimator.dr_grpo, AdvantageEstimator.rloo])
def test_penalties_of_tokens_are_summed_where_a_sample_has_one_advantage(kind: AdvantageEstimator) -> None:
    penalties = [[[0.1, 0.2], [0.0], [-0.1, 0.0, 0.3]]]
    assert of(kind, [[1.0, 0.5, 0.0]], lengths=[[2, 1, 3]], penalties=penalties)[0] == pytest.approx(
        of(kind, [[0.7, 0.5, -0.2]])[0], rel=1e-12
    )


@pytest.mark.parametrize("moments", list(BatchMoments))
def test_penalties_of_tokens_become_returns_to_go(moments: BatchMoments) -> None:
    penalties = [[[0.1, 0.2], [0.05]], [[0.0, 0.0, 0.4], []]]
    lengths = [[2, 1], [3, 0]]
    found = of(
        AdvantageEstimator.reinforce_pp_baseline,
        [[1.0, 0.0], [0.5, 0.0]],
        lengths=lengths,
        penalties=penalties,
        batch_moments=moments,
    )
    returns = [[0.5 - 0.3, 0.5 - 0.2], [-0.5 - 0.05], [0.25 - 0.4, 0.25 - 0.4, 0.25 - 0.4], [-0.25]]
    trained = [value for each in returns[:3] for value in each]
    batch = np.array(trained if moments is BatchMoments.token else [each[0] for each in returns])
    for each, wanted in zip([*found[0], *found[1]], returns, strict=True):
        np.testing.assert_allclose(
            np.ravel(each), (np.array(wanted) - batch.mean()) / (batch.std() + EPSILON), rtol=1e-9
        )


@settings(deadline=None)
@given(groups_of_rewards, st.sampled_from([*AdvantageEstimator, OWN]), st.sampled_from(BatchMoments))
def test_advantages_are_finite_and_keep_the_order_of_rewards(
    groups: list[list[float]], kind: str, moments: BatchMoments
) -> None:
    values = of(kind, groups, batch_moments=moments)
    assert [len(each) for each in values] == [len(group) for group in groups]
    for group, each in zip(groups, values, strict=True):
        found = np.array(each, dtype=np.float64)
        assert np.isfinite(found).all()
        order = np.argsort(group, kind="stable")
        assert (np.diff(found[order]) >= -1e-9).all()
        if kind in (AdvantageEstimator.grpo, AdvantageEstimator.dr_grpo, AdvantageEstimator.rloo):
            assert abs(found.sum()) <= 1e-6 * len(each)
            assert of(kind, [group])[0] == each


@settings(deadline=None)
@given(groups_of_rewards, st.sampled_from([AdvantageEstimator.reinforce_pp, AdvantageEstimator.reinforce_pp_baseline]))
def test_the_batch_is_normalised(groups: list[list[float]], kind: AdvantageEstimator) -> None:
    values = np.array([value for group in of(kind, groups) for value in group])
    if values.any() and np.ptp([r for group in groups for r in group]) > 0.05:
        assert abs(values.mean()) < 1e-9
        assert values.std() <= 1 + 1e-9


@pytest.mark.parametrize("kind", [*AdvantageEstimator, OWN])
def test_what_went_well_has_a_weight(kind: str) -> None:
    rewards = [[1.0, 0.0, 0.25, 0.5], [1.0, 0.0, 0.0, 0.0]]
    plain, weighted = of(kind, rewards), of(kind, rewards, positive_weight=0.25)
    before, after = (np.array(each, dtype=np.float64) for each in (plain, weighted))
    np.testing.assert_array_equal(after, np.where(before > 0, before * 0.25, before))
    assert (before > 0).any()
    assert of(kind, rewards, positive_weight=1.0) == plain


def test_the_weight_looks_at_each_token_where_advantages_differ_by_token() -> None:
    rewards, penalties, lengths = [[1.0, 0.0]], [[[0.0, 0.9], [0.1, 0.1]]], [[2, 2]]
    kind = AdvantageEstimator.reinforce_pp_baseline
    (plain,) = of(kind, rewards, lengths=lengths, penalties=penalties)
    (weighted,) = of(kind, rewards, lengths=lengths, penalties=penalties, positive_weight=2.0)
    before, after = np.concatenate(plain), np.concatenate(weighted)
    np.testing.assert_array_equal(after, np.where(before > 0, 2 * before, before))
    assert (before > 0).any() and (before < 0).any()  # noqa: PT018
