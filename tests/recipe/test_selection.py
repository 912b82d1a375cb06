from collections import Counter

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import RecipeConfig, SelectionConfig, ShapingConfig
from prorl_mega.recipe.selection import keep_informative
from prorl_mega.recipe.shaping import shape_rewards

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
        ([5.0, 4.0], None),  # of a task that declares such rewards; the band from 0 to 1 switches nothing on
        ([-1.0, 0.0], None),
        ([-1.0, -1.0], "all_wrong"),
        ([3.0, 3.0], "all_correct"),
    ],
)
def test_reasons(rewards: list[float | None], reason: str | None) -> None:
    group = scored_group(rewards)
    kept, dropped = keep_informative([group], RecipeConfig())
    assert dropped == (Counter() if reason is None else Counter({reason: 1}))
    assert kept == ([group] if reason is None else [])


@settings(deadline=None)
@given(st.lists(st.lists(reward, max_size=5), max_size=12))
def test_nothing_is_lost_and_the_order_stays(rewards: list[list[float | None]]) -> None:
    groups = [scored_group(each, key=f"t/{index}") for index, each in enumerate(rewards)]
    kept, dropped = keep_informative(groups, RecipeConfig())
    assert len(kept) + dropped.total() == len(groups)
    keys = [group.problem.key for group in kept]
    assert keys == [group.problem.key for group in groups if group.problem.key in set(keys)]
    assert all(len(set(group.rewards())) > 1 for group in kept)
    assert keep_informative(kept, RecipeConfig()) == (kept, Counter())


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [
        ([1.0, 1.0, 1.0, 0.0], "too_easy"),
        ([0.0, 0.0, 0.0, 1.0], "too_hard"),
        ([0.0, 1.0, 1.0, 0.0], None),
        ([1.0, 0.4, None], None),
        ([1.0, 1.0], "all_correct"),
    ],
)
def test_band_of_pass_rates(rewards: list[float | None], reason: str | None) -> None:
    recipe = RecipeConfig(selection=SelectionConfig(pass_rate_min=0.3, pass_rate_max=0.7))
    kept, dropped = keep_informative([scored_group(rewards)], recipe)
    assert dropped == (Counter() if reason is None else Counter({reason: 1}))
    assert len(kept) == (reason is None)


def test_the_edges_of_the_band_belong_to_it() -> None:
    recipe = RecipeConfig(selection=SelectionConfig(pass_rate_min=0.1, pass_rate_max=0.3))
    groups = [scored_group([1.0] * right + [0.0] * (10 - right)) for right in (1, 2, 3, 4)]
    assert len(keep_informative(groups, recipe)[0]) == 3


def test_uniform_groups_can_be_kept() -> None:
    recipe = RecipeConfig(selection=SelectionConfig(keep_uniform_groups=True, dynamic_sampling=False))
    groups = [scored_group(each) for each in ([1.0, 1.0], [0.0], [None, None], [0.0, 1.0])]
    kept, dropped = keep_informative(groups, recipe)
    assert kept == [groups[0], groups[1], groups[3]]
    assert dropped == Counter({"too_few_scored": 1})


def test_selection_looks_at_verdicts_not_at_shaped_rewards() -> None:
    """All wrong, but of different lengths: the length penalty alone must not make a group informative."""
    group = scored_group([0.0, 0.0, 0.0], lengths=[1, 50, 99])
    shape_rewards([group], ShapingConfig(length_weight=1.0), step=0, limit=100)
    assert len(set(group.shaped_rewards())) == 3
    assert keep_informative([group], RecipeConfig())[1] == Counter({"all_wrong": 1})


def test_a_group_of_which_nothing_is_trained_on_is_left_out() -> None:
    recipe = RecipeConfig(shaping=ShapingConfig(overlong_filtering=True))
    groups = [
        scored_group([0.0, 1.0], lengths=[100, 100], limit=100),
        scored_group([0.0, 1.0], lengths=[100, 5], limit=100),
    ]
    kept, dropped = keep_informative(groups, recipe)
    assert kept == groups[1:]
    assert dropped == Counter({"all_cut_off": 1})
    assert keep_informative(groups, RecipeConfig())[0] == groups
