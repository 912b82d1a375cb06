import numpy as np
import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.schema import AdvantageKind, RecipeConfig
from prorl_mega.recipe.sequences import split_updates, to_sequences


def test_tokens_and_advantages_belong_together() -> None:
    groups = [scored_group([1.0, 0.0, 0.0]), scored_group([0.0, 0.5], lengths=[4, 1])]
    sequences = to_sequences(groups, AdvantageKind.grpo)
    assert [each.reward for each in sequences] == [1.0, 0.0, 0.0, 0.0, 0.5]
    assert [each.completion_length for each in sequences] == [3, 3, 3, 4, 1]
    assert sequences[1].tokens.tolist() == [100, 101, 1, 1, 1]
    assert sequences[1].tokens.dtype == np.int32
    assert sequences[4].sampler_logprobs.tolist() == pytest.approx([-0.1])
    assert sequences[0].advantage == pytest.approx(2 / np.sqrt(3), rel=1e-5)
    assert sequences[1].advantage == pytest.approx(-1 / np.sqrt(3), rel=1e-5)
    assert {each.version for each in sequences} == {7}
    assert all(each.old_logprobs is None and each.reference_logprobs is None for each in sequences)


def test_an_infrastructure_error_is_not_a_wrong_answer() -> None:
    with_error = to_sequences([scored_group([1.0, None, 0.0])], AdvantageKind.grpo)
    without = to_sequences([scored_group([1.0, 0.0])], AdvantageKind.grpo)
    assert [each.advantage for each in with_error] == [each.advantage for each in without]
    assert [int(each.tokens[-1]) for each in with_error] == [0, 2]


def test_an_empty_completion_counts_in_the_baseline_only() -> None:
    sequences = to_sequences([scored_group([1.0, 0.0, 0.0], lengths=[2, 0, 2])], AdvantageKind.grpo)
    assert [each.advantage for each in sequences] == pytest.approx([1.1547, -0.57735], rel=1e-4)


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(1, 8), st.integers(1, 5))
def test_updates_keep_every_sequence_in_order_and_differ_by_at_most_one(count: int, prompts: int, samples: int) -> None:
    recipe = RecipeConfig(prompts_per_update=prompts, samples_per_prompt=samples)
    sequences = to_sequences([scored_group([0.0, 1.0])] * ((count + 1) // 2), AdvantageKind.grpo)[:count]
    parts = split_updates(sequences, recipe)
    assert [id(each) for part in parts for each in part] == [id(each) for each in sequences]
    sizes = [len(part) for part in parts]
    assert all(0 < size <= prompts * samples for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_a_full_step_has_the_configured_number_of_updates() -> None:
    recipe = RecipeConfig(prompts_per_step=8, prompts_per_update=2, samples_per_prompt=2)
    sequences = to_sequences([scored_group([0.0, 1.0])] * 8, AdvantageKind.grpo)
    assert [len(part) for part in split_updates(sequences, recipe)] == [4, 4, 4, 4]
