from collections import Counter

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.recipe.selection import keep_informative

reward = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1))


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [
        ([1.0, 1.0, 1.0], "all_correct"),
        ([1.0, None, 1.0], "all_correct"),
        ([0.0, 0.0], "all_wrong"),
        ([0.4, 0.4, 0.4], "all_equal"),
        ([0.4, 0.4 + 1e-9], "all_equal"),
        ([], "too_few_scored"),
        ([None, None], "too_few_scored"),
        ([None, 1.0], "too_few_scored"),
        ([0.0, 1.0], None),
        ([0.0, None, 1.0], None),
        ([0.4, 0.5], None),
        ([1.0, 0.999], None),
    ],
)
def test_reasons(rewards: list[float | None], reason: str | None) -> None:
    group = scored_group(rewards)
    kept, dropped = keep_informative([group])
    assert dropped == (Counter() if reason is None else Counter({reason: 1}))
    assert kept == ([group] if reason is None else [])


@settings(deadline=None)
@given(st.lists(st.lists(reward, max_size=5), max_size=12))
def test_nothing_is_lost_and_the_order_stays(rewards: list[list[float | None]]) -> None:
    groups = [scored_group(each, key=f"t/{index}") for index, each in enumerate(rewards)]
    kept, dropped = keep_informative(groups)
    assert len(kept) + dropped.total() == len(groups)
    keys = [group.problem.key for group in kept]
    assert keys == [group.problem.key for group in groups if group.problem.key in set(keys)]
    assert all(len(set(group.rewards())) > 1 for group in kept)
    assert keep_informative(kept) == (kept, Counter())
