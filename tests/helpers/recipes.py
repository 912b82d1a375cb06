"""Learners with every policy loss and every KL estimator, in processes started by `run_ranks`. No transformers here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.learning import TEMPERATURE, full_gradients, make_learner, make_sequences

from prorl_mega.config.keys import with_settings
from prorl_mega.config.recipe import KLEstimator, KLPlacement, LossAggregation, PolicyLossKind, RecipeConfig
from prorl_mega.learner.learner import MegatronLearner
from prorl_mega.types import StepHyperparams, TrainSample
from prorl_mega.weights.load import load_weights

COEFFICIENTS = StepHyperparams(kl=0.3, entropy=0.0, learning_rate=1e-3)
BASE: dict[str, Any] = {"prompts_per_step": 4, "prompts_per_update": 4, "kl.coef": 0.3}
SEQUENCE_LEVEL: dict[str, Any] = {
    "policy_loss.kind": PolicyLossKind.gspo,
    "loss.aggregation": LossAggregation.sequence_mean,
    "policy_loss.clip_low": 0.02,
    "policy_loss.clip_high": 0.03,
    "kl.estimator": KLEstimator.exact_reverse,
}
FIXED_LENGTH: dict[str, Any] = {
    "policy_loss.kind": PolicyLossKind.dual_clip,
    "loss.aggregation": LossAggregation.fixed_length,
    "loss.fixed_length": 50,
    "policy_loss.dual_clip": 1.5,
    "kl.estimator": KLEstimator.exact_forward,
}
RECIPES = {"gspo, reverse": SEQUENCE_LEVEL, "dual clip, forward": FIXED_LENGTH}


@dataclass(kw_only=True, frozen=True)
class Measured:
    loss: float
    kl: float
    gradients: dict[str, torch.Tensor]


def measure(path: Path, reference: Path, sequences: list[TrainSample], cases: dict[str, Any]) -> dict[str, Measured]:
    """One update by case and recipe, of the policy in `path` with the reference policy in `reference`."""
    found = {}
    for name, settings in cases.items():
        for kind, recipe in RECIPES.items():
            learner = make_learner(path, **settings, recipe=BASE | recipe)
            load_weights(reference, learner.reference_parameters(), learner.description, learner.layout)
            metrics = learner.update([replace(sequence) for sequence in sequences], COEFFICIENTS)
            gradients = full_gradients(learner)
            found[f"{name}: {kind}"] = Measured(
                loss=metrics["loss/total"],
                kl=metrics["policy/kl"],
                gradients={} if learner.layout.rank else gradients,
            )
    return found


def three_steps(path: Path) -> dict[str, Any]:
    """Every pair from the same weights and a fresh optimizer, in one learner that changes its settings."""
    learner = make_learner(path, recipe=BASE)
    start = {name: value.clone() for name, value in learner.parameters().items()}
    found: dict[str, Any] = {}
    for kind in PolicyLossKind:
        for estimator in KLEstimator:
            for name, value in learner.parameters().items():
                value.copy_(start[name])
            learner.adopt_parameters()
            recipe = with_settings(RecipeConfig(), BASE | {"policy_loss.kind": kind, "kl.estimator": estimator})
            learner.configure(recipe, TEMPERATURE)
            found[f"{kind.name} {estimator.name}"] = train(learner)
    found["reward"] = penalty_in_the_reward(learner)
    return found


def train(learner: MegatronLearner) -> list[dict[str, float]]:
    history = []
    for step in range(3):
        sequences = make_sequences(6, seed=step)
        learner.compute_log_probs(sequences)
        history.append(learner.update(sequences, COEFFICIENTS))
    return history


def penalty_in_the_reward(learner: MegatronLearner) -> dict[str, Any]:
    recipe = with_settings(RecipeConfig(), BASE | {"kl.placement": KLPlacement.reward, "kl.estimator": KLEstimator.k1})
    learner.configure(recipe, TEMPERATURE)
    sequences = make_sequences(6, seed=9)
    learner.compute_log_probs(sequences)
    known = all(each.old_logprobs is not None and each.reference_logprobs is not None for each in sequences)
    for sequence in sequences:
        sequence.advantage = np.linspace(-1, 1, sequence.completion_length)
    metrics = learner.update(sequences, COEFFICIENTS)
    return {"known": known, "metrics": metrics}
