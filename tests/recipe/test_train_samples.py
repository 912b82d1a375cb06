import numpy as np
import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import (
    AdvantageConfig,
    AdvantageEstimator,
    BatchMoments,
    KLConfig,
    KLEstimator,
    KLPlacement,
    PolicyLossConfig,
    RecipeConfig,
    ShapingConfig,
)
from prorl_mega.recipe.shaping import shape_rewards
from prorl_mega.recipe.train_samples import assign_advantages, split_updates, to_train_samples
from prorl_mega.types import Group, TrainSample


def prepared(groups: list[Group], recipe: RecipeConfig | None = None, kl_coef: float = 0.0) -> list[TrainSample]:
    recipe = RecipeConfig() if recipe is None else recipe
    sequences = to_train_samples(groups, recipe)
    assert assign_advantages(groups, sequences, recipe, kl_coef) == {}
    return sequences


def test_tokens_and_advantages_belong_together() -> None:
    groups = [scored_group([1.0, 0.0, 0.0]), scored_group([0.0, 0.5], lengths=[4, 1])]
    sequences = prepared(groups)
    assert [each.reward for each in sequences] == [1.0, 0.0, 0.0, 0.0, 0.5]
    assert [each.completion_length for each in sequences] == [3, 3, 3, 4, 1]
    assert sequences[1].tokens.tolist() == [100, 101, 1, 1, 1]
    assert sequences[1].tokens.dtype == np.int32
    assert sequences[4].rollout_logprobs.tolist() == pytest.approx([-0.1])
    assert sequences[0].advantage == pytest.approx(2 / np.sqrt(3), rel=1e-5)
    assert sequences[1].advantage == pytest.approx(-1 / np.sqrt(3), rel=1e-5)
    assert {each.version for each in sequences} == {7}
    assert all(each.old_logprobs is None and each.reference_logprobs is None for each in sequences)


def test_an_infrastructure_error_is_not_a_wrong_answer() -> None:
    with_error = prepared([scored_group([1.0, None, 0.0])])
    without = prepared([scored_group([1.0, 0.0])])
    assert [each.advantage for each in with_error] == [each.advantage for each in without]
    assert [int(each.tokens[-1]) for each in with_error] == [0, 2]


def test_an_empty_completion_counts_in_the_baseline_only() -> None:
    sequences = prepared([scored_group([1.0, 0.0, 0.0], lengths=[2, 0, 2])])
    assert [each.advantage for each in sequences] == pytest.approx([1.1547, -0.57735], rel=1e-4)


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(1, 8), st.integers(1, 5))
def test_updates_keep_every_sequence_in_order_and_differ_by_at_most_one(count: int, prompts: int, samples: int) -> None:
    recipe = RecipeConfig(prompts_per_update=prompts, samples_per_prompt=samples)
    sequences = prepared([scored_group([0.0, 1.0])] * ((count + 1) // 2))[:count]
    parts = split_updates(sequences, recipe)
    assert [id(each) for part in parts for each in part] == [id(each) for each in sequences]
    sizes = [len(part) for part in parts]
    assert all(0 < size <= prompts * samples for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_a_full_step_has_the_configured_number_of_updates() -> None:
    recipe = RecipeConfig(prompts_per_step=8, prompts_per_update=2, samples_per_prompt=2)
    sequences = prepared([scored_group([0.0, 1.0])] * 8)
    assert [len(part) for part in split_updates(sequences, recipe)] == [4, 4, 4, 4]


def test_over_long_answers_count_in_the_baseline_only() -> None:
    recipe = RecipeConfig(
        shaping=ShapingConfig(overlong_filtering=True), advantage=AdvantageConfig(estimator=AdvantageEstimator.dr_grpo)
    )
    group = scored_group([1.0, 0.0, 0.0, 0.0], lengths=[2, 100, 3, 100], limit=100)
    sequences = prepared([group], recipe)
    assert [each.completion_length for each in sequences] == [2, 3]
    assert [each.advantage for each in sequences] == [0.75, -0.25]


def test_shaped_rewards_are_what_is_trained_with() -> None:
    groups = [scored_group([1.0, 0.0], lengths=[10, 5])]
    shape_rewards(groups, ShapingConfig(length_weight=1.0), step=0, limit=10)
    sequences = prepared(groups, RecipeConfig(advantage=AdvantageConfig(estimator=AdvantageEstimator.dr_grpo)))
    assert [each.reward for each in sequences] == pytest.approx([0.0, -0.5])
    assert [each.advantage for each in sequences] == pytest.approx([0.25, -0.25])


def annotated(recipe: RecipeConfig) -> tuple[list[Group], list[TrainSample]]:
    groups = [scored_group([1.0, 0.0, 0.5], lengths=[3, 0, 2]), scored_group([0.0, 1.0], lengths=[1, 4])]
    sequences = to_train_samples(groups, recipe)
    draw = np.random.default_rng(0)
    for sequence in sequences:
        sequence.old_logprobs = -draw.exponential(size=sequence.completion_length).astype(np.float32)
        sequence.reference_logprobs = -draw.exponential(size=sequence.completion_length).astype(np.float32)
    return groups, sequences


@pytest.mark.parametrize("kind", [KLEstimator.k1, KLEstimator.k2, KLEstimator.k3])
def test_a_penalty_in_the_reward_lowers_the_reward_of_a_sequence(kind: KLEstimator) -> None:
    recipe = RecipeConfig(
        kl=KLConfig(placement=KLPlacement.reward, estimator=kind, clamp=1.0),
        advantage=AdvantageConfig(estimator=AdvantageEstimator.dr_grpo),
    )
    groups, sequences = annotated(recipe)
    metrics = assign_advantages(groups, sequences, recipe, 0.1)
    totals = []
    for sequence in sequences:
        assert sequence.old_logprobs is not None
        assert sequence.reference_logprobs is not None
        delta = np.clip(sequence.reference_logprobs.astype(float) - sequence.old_logprobs.astype(float), -1, 1)
        estimate = {KLEstimator.k1: -delta, KLEstimator.k2: delta**2 / 2, KLEstimator.k3: np.exp(delta) - 1 - delta}
        totals.append(0.1 * estimate[kind].sum())
    first = np.array([1.0 - totals[0], 0.0, 0.5 - totals[1]])
    second = np.array([0.0 - totals[2], 1.0 - totals[3]])
    wanted = [first[0] - first.mean(), first[2] - first.mean(), *(second - second.mean())]
    assert [each.advantage for each in sequences] == pytest.approx(wanted, abs=1e-9)
    assert metrics["reward/kl_penalty"] == pytest.approx(sum(totals) / 4)


def test_a_penalty_in_the_reward_gives_each_token_its_own_advantage_where_the_estimator_can() -> None:
    recipe = RecipeConfig(
        kl=KLConfig(placement=KLPlacement.reward, estimator=KLEstimator.k1),
        advantage=AdvantageConfig(estimator=AdvantageEstimator.reinforce_pp, batch_moments=BatchMoments.token),
    )
    groups, sequences = annotated(recipe)
    assign_advantages(groups, sequences, recipe, 0.1)
    assert [np.shape(each.advantage) for each in sequences] == [(3,), (2,), (1,), (4,)]
    flat = np.concatenate([np.ravel(each.advantage) for each in sequences])
    assert flat.mean() == pytest.approx(0.0, abs=1e-12)
    assert flat.std() == pytest.approx(1.0, rel=1e-4)
    last = sequences[3]
    assert last.old_logprobs is not None
    assert last.reference_logprobs is not None
    cost = 0.1 * (last.old_logprobs.astype(float) - last.reference_logprobs.astype(float))
    steps = np.diff(last.advantage)  # A_t − A_{t−1} is the cost of token t − 1, normalised
    assert steps / steps[0] == pytest.approx(cost[:3] / cost[0], rel=1e-5)


def test_without_a_coefficient_nobody_needs_log_probabilities() -> None:
    recipe = RecipeConfig(kl=KLConfig(placement=KLPlacement.reward))
    assert prepared([scored_group([1.0, 0.0])], recipe, kl_coef=0.0)[0].advantage > 0


def test_sequences_of_other_groups_are_noticed() -> None:
    groups = [scored_group([1.0, 0.0])]
    with pytest.raises(AssertionError, match="other groups"):
        assign_advantages(groups, to_train_samples(groups * 2, RecipeConfig()), RecipeConfig(), 0.0)


def test_clip_cov_comes_after_the_advantages() -> None:
    groups = [scored_group([1.0, 0.0, 0.0], lengths=[5, 4, 3])]
    recipe = RecipeConfig(policy_loss=PolicyLossConfig(clip_cov=0.5, clip_cov_low=-9.0, clip_cov_high=9.0))
    sequences = to_train_samples(groups, recipe)
    metrics = assign_advantages(groups, sequences, recipe, 0.0)
    tokens = np.concatenate([np.broadcast_to(each.advantage, each.completion_length) for each in sequences])
    assert metrics["policy/clipped_covariance"] == 0.5
    assert (tokens == 0).sum() == 6
    plain = prepared(groups)
    for each, other in zip(sequences, plain, strict=True):
        values = np.broadcast_to(each.advantage, each.completion_length)
        assert set(values[values != 0].tolist()) <= {other.advantage}
