import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.schema import AdvantageKind
from prorl_mega.recipe.advantage import EPSILON, ESTIMATORS, advantages

rewards = st.lists(st.floats(0, 1, allow_subnormal=False), max_size=20)


def test_every_kind_has_an_estimator() -> None:
    assert set(ESTIMATORS) == set(AdvantageKind)


def test_grpo_by_hand() -> None:
    (group,) = advantages([[1, 0, 0, 1, 0]], AdvantageKind.grpo)
    spread = np.sqrt((2 * 0.6**2 + 3 * 0.4**2) / 4) + EPSILON  # n − 1
    np.testing.assert_allclose(group, np.array([0.6, -0.4, -0.4, 0.6, -0.4]) / spread, rtol=1e-12)


@pytest.mark.parametrize("group", [[], [0.3], [0.1] * 7, [1.0] * 16, [0.0] * 3])
def test_without_spread_there_is_exactly_no_signal(group: list[float]) -> None:
    (values,) = advantages([group], AdvantageKind.grpo)
    assert values.tolist() == [0.0] * len(group)


@settings(deadline=None)
@given(st.lists(rewards, max_size=5))
def test_grpo_is_centred_ordered_and_per_group(groups: list[list[float]]) -> None:
    values = advantages(groups, AdvantageKind.grpo)
    assert [len(each) for each in values] == [len(group) for group in groups]
    for group, each in zip(groups, values, strict=True):
        assert np.isfinite(each).all()
        assert abs(each.sum()) <= 1e-6 * max(1, len(each))
        order = np.argsort(group, kind="stable")
        assert (np.diff(each[order]) >= -1e-9).all()
        if len(each):
            assert (advantages([group], AdvantageKind.grpo)[0] == each).all()
