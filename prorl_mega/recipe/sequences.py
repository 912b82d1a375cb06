"""From scored groups to what the learner trains on."""

from __future__ import annotations

import itertools
import math

import numpy as np

from prorl_mega.config.schema import AdvantageKind, RecipeConfig
from prorl_mega.recipe.advantage import advantages
from prorl_mega.types import Group, Outcome, Sample, Sequence


def to_sequences(groups: list[Group], kind: AdvantageKind) -> list[Sequence]:
    """One sequence per scored sample that has tokens, in order; samples with an infrastructure error are left out.

    An empty completion has nothing to train on, but its reward counts in the baseline of its group.
    """
    values = advantages([group.rewards() for group in groups], kind)
    return [
        _sequence(group.prompt_tokens, sample, reward, float(advantage))
        for group, of_group in zip(groups, values, strict=True)
        for sample, reward, advantage in zip(_scored(group), group.rewards(), of_group, strict=True)
        if len(sample.completion.tokens)
    ]


def _scored(group: Group) -> list[Sample]:
    return [
        sample for sample in group.samples if sample.verdict is not None and sample.verdict.outcome is Outcome.SCORED
    ]


def _sequence(prompt_tokens: np.ndarray, sample: Sample, reward: float, advantage: float) -> Sequence:
    completion = sample.completion
    return Sequence(
        tokens=np.concatenate([prompt_tokens, completion.tokens]).astype(np.int32, copy=False),
        prompt_length=len(prompt_tokens),
        advantage=advantage,
        reward=reward,
        sampler_logprobs=completion.logprobs,
        version=completion.version,
    )


def split_updates(sequences: list[Sequence], recipe: RecipeConfig) -> list[list[Sequence]]:
    """The sequences of one step, cut in order into the parts of its optimizer steps.

    As many parts as it takes so that none is larger than `prompts_per_update` full groups; sizes differ by at most one,
    so that a step with few informative groups does not end in a tiny, noisy update.
    """
    largest = recipe.prompts_per_update * recipe.samples_per_prompt
    parts = math.ceil(len(sequences) / largest)
    bounds = [len(sequences) * part // max(parts, 1) for part in range(parts + 1)]
    return [sequences[start:stop] for start, stop in itertools.pairwise(bounds)]
