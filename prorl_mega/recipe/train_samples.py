"""Train samples from scored groups: what the learner trains on."""

from __future__ import annotations

import itertools
import math

import numpy as np

from prorl_mega.config.recipe import KLPlacement, RecipeConfig
from prorl_mega.recipe.advantage import Rewards, advantages
from prorl_mega.recipe.covariance import clip_covariance
from prorl_mega.types import FinishReason, Group, Metrics, Sample, TrainSample


def is_trained(sample: Sample, recipe: RecipeConfig) -> bool:
    """Whether a scored sample becomes a sequence: it has tokens, and was not truncated under over-long filtering.

    The others have nothing to train on, but their rewards count in the baseline of their group.
    """
    filtered = recipe.shaping.overlong_filtering and sample.completion.finish is FinishReason.LENGTH
    return len(sample.completion.tokens) > 0 and not filtered


def to_train_samples(groups: list[Group], recipe: RecipeConfig) -> list[TrainSample]:
    """One sequence per sample that is trained on, in order; their advantages are still 0 (`assign_advantages`)."""
    return [
        _sequence(group, sample, reward)
        for group in groups
        for sample, reward in zip(group.scored(), group.shaped_rewards(), strict=True)
        if is_trained(sample, recipe)
    ]


def unjudged_samples(groups: list[Group]) -> list[TrainSample]:
    """One sequence per sample that has tokens, whatever its verdict, in order: for looking at, not for training."""
    return [
        _sequence(group, sample, reward=0.0)
        for group in groups
        for sample in group.samples
        if len(sample.completion.tokens) > 0
    ]


def _sequence(group: Group, sample: Sample, reward: float) -> TrainSample:
    completion = sample.completion
    return TrainSample(
        tokens=np.concatenate([group.prompt_tokens, completion.tokens]).astype(np.int32, copy=False),
        prompt_length=len(group.prompt_tokens),
        advantage=0.0,
        reward=reward,
        rollout_logprobs=completion.logprobs,
        version=completion.version,
        versions=completion.versions,
        key=group.problem.key,
    )


def assign_advantages(
    groups: list[Group], sequences: list[TrainSample], recipe: RecipeConfig, kl_coef: float
) -> Metrics:
    """Set `advantage` of the sequences that `to_train_samples` made of `groups`, Clip-Cov included.

    If the KL penalty is in the reward they must have been annotated: each token costs kl_coef · k, with the estimator k
    of `kl.estimator` between the policy before this step's updates and the reference. Samples that are not trained on
    pay nothing.
    """
    remaining = iter(sequences)
    trained = [
        [next(remaining) if is_trained(sample, recipe) else None for sample in group.scored()] for group in groups
    ]
    assert next(remaining, None) is None, "sequences of other groups"
    penalised = recipe.kl.placement is KLPlacement.reward and kl_coef > 0
    penalties = [[_penalty(each, recipe, kl_coef) for each in group] for group in trained] if penalised else None
    rewards = Rewards(
        values=[np.asarray(group.shaped_rewards(), dtype=np.float64) for group in groups],
        lengths=[np.array([each.completion_length if each else 0 for each in group], dtype=int) for group in trained],
        penalties=penalties,
    )
    for of_group, values in zip(trained, advantages(rewards, recipe.advantage), strict=True):
        for sequence, value in zip(of_group, values, strict=True):
            if sequence is not None:
                sequence.advantage = value
    metrics = clip_covariance(sequences, recipe.policy_loss)
    if penalties is None:
        return metrics
    tokens = np.concatenate([penalty for group in penalties for penalty in group])
    return metrics | {"reward/kl_penalty": float(tokens.sum() / max(1, len(sequences)))}


def _penalty(sequence: TrainSample | None, recipe: RecipeConfig, kl_coef: float) -> np.ndarray:
    """kl_coef · k of every token, `[T]` float64."""
    import torch

    from prorl_mega.recipe.kl import KLInputs, kl_per_token

    if sequence is None:
        return np.empty(0)
    assert sequence.old_logprobs is not None, "annotate comes first"
    assert sequence.reference_logprobs is not None, "annotate comes first"
    policy = torch.from_numpy(sequence.old_logprobs.astype(np.float64))
    reference = torch.from_numpy(sequence.reference_logprobs.astype(np.float64))
    inputs = KLInputs(logprobs=policy, reference_logprobs=reference, exact=torch.zeros_like(policy))
    return kl_coef * kl_per_token(inputs, recipe.kl).numpy()


def split_updates(sequences: list[TrainSample], recipe: RecipeConfig) -> list[list[TrainSample]]:
    """The sequences of one step, cut in order into the parts of its optimizer steps.

    There are just enough parts that none exceeds `prompts_per_update` full groups; sizes differ by at most one,
    so that a step with few informative groups does not end in a tiny, noisy update.
    """
    largest = recipe.prompts_per_update * recipe.samples_per_prompt
    parts = math.ceil(len(sequences) / largest)
    bounds = [len(sequences) * part // max(parts, 1) for part in range(parts + 1)]
    return [sequences[start:stop] for start, stop in itertools.pairwise(bounds)]
