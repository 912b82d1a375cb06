"""Every objective with every KL estimator on a real learner: three steps, and exact values against autograd."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import TEMPERATURE, VALID_VOCAB, make_off_policy, make_sequences
from helpers.plain import plain_annotation, relative
from helpers.recipes import BASE, COEFFICIENTS, RECIPES, Measured, measure, three_steps
from helpers.tiny import tiny_checkpoint
from transformers import AutoModelForCausalLM

from prorl_mega.config.keys import with_settings
from prorl_mega.config.recipe import KLEstimator, PolicyLossKind, RecipeConfig
from prorl_mega.types import TrainSample

PACKINGS: dict[str, dict[str, Any]] = {"one pack": {"capacity": 10_000}, "many packs": {"capacity": 40}}
LAYOUTS: dict[str, dict[str, Any]] = {
    "dp4": {"capacity": 60},
    "tp2 pp2 sequence": {"tensor": 2, "pipeline": 2, "sequence": True, "capacity": 80},
}


def plain(path: Path, reference: Path, sequences: list[TrainSample], recipe: RecipeConfig) -> Measured:
    """The same by Hugging Face in float64, one sequence at a time, from the papers."""
    policy, other = (AutoModelForCausalLM.from_pretrained(each).double() for each in (path, reference))
    tokens = sum(sequence.completion_length for sequence in sequences)
    total, divergence = torch.zeros((), dtype=torch.float64), 0.0
    for sequence in sequences:
        ids = torch.from_numpy(sequence.tokens.astype(np.int64))[None]
        rows = slice(sequence.prompt_length - 1, -1)
        logp, logq = (
            (model(ids).logits[0, rows, :VALID_VOCAB] / TEMPERATURE).log_softmax(-1) for model in (policy, other)
        )
        logq = logq.detach()
        if recipe.kl.estimator is KLEstimator.exact_reverse:
            kl = (logp.exp() * (logp - logq)).sum(-1)
        else:
            kl = (logq.exp() * (logq - logp)).sum(-1)
        log_ratio = logp.gather(1, ids[0, sequence.prompt_length :, None])[:, 0] - torch.from_numpy(
            np.asarray(sequence.old_logprobs)
        )
        advantage = torch.tensor(sequence.advantage, dtype=torch.float64)
        ratio = log_ratio.mean().exp() if recipe.policy_loss.kind == PolicyLossKind.gspo else log_ratio.exp()
        gain = torch.minimum(
            ratio * advantage,
            ratio.clamp(1 - recipe.policy_loss.clip_low, 1 + recipe.policy_loss.clip_high) * advantage,
        )
        if recipe.policy_loss.kind == PolicyLossKind.gspo:
            total = total + (-gain + COEFFICIENTS.kl * kl.mean()) / len(sequences)
            divergence += kl.mean().item() / len(sequences)
            continue
        if advantage < 0:
            gain = torch.maximum(gain, recipe.policy_loss.dual_clip * advantage)
        total = total + (-gain + COEFFICIENTS.kl * kl).sum() / (len(sequences) * recipe.loss.fixed_length)
        divergence += kl.sum().item() / tokens
    total.backward()
    gradients = {name: value.grad for name, value in policy.named_parameters() if value.grad is not None}
    return Measured(loss=total.item(), kl=divergence, gradients=gradients)


@pytest.mark.parametrize(("ranks", "cases"), [(1, PACKINGS), (4, LAYOUTS)], ids=["packings", "layouts"])
def test_exact_divergence_and_sequence_ratios_do_not_depend_on_the_cut(
    tmp_path: Path, ranks: int, cases: dict[str, Any]
) -> None:
    path, reference = (
        tiny_checkpoint(tmp_path / "a", "qwen2_tied"),
        tiny_checkpoint(tmp_path / "b", "qwen2_tied", seed=1),
    )
    sequences = make_sequences(12)
    make_off_policy(sequences, plain_annotation(path, sequences))
    for sequence in sequences:
        sequence.reference_logprobs = None  # exact estimators ask the reference themselves
    found = run_ranks(measure, ranks, path, reference, sequences, cases, timeout_s=240)[0]
    for kind, recipe in RECIPES.items():
        wanted = plain(path, reference, sequences, with_settings(RecipeConfig(), BASE | recipe))
        assert wanted.kl > 0.01
        for case in cases:
            step = found[f"{case}: {kind}"]
            assert step.loss == pytest.approx(wanted.loss, rel=1e-5), (case, kind)
            assert step.kl == pytest.approx(wanted.kl, rel=1e-5), (case, kind)
            assert set(step.gradients) == set(wanted.gradients)
            for name, gradient in wanted.gradients.items():
                assert relative(step.gradients[name], gradient) <= 2e-5, (case, kind, name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tiny_checkpoint(tmp_path_factory.mktemp("model"), "qwen2", num_hidden_layers=2)
    return run_ranks(three_steps, 1, path, timeout_s=240)[0]


@pytest.mark.parametrize("estimator", list(KLEstimator))
@pytest.mark.parametrize("objective", list(PolicyLossKind))
def test_three_steps(trained: dict[str, Any], objective: PolicyLossKind, estimator: KLEstimator) -> None:
    first, second, third = trained[f"{objective.name} {estimator.name}"]
    assert all(math.isfinite(value) for step in (first, second, third) for value in step.values())
    assert first["policy/kl"] == pytest.approx(0.0, abs=1e-7)
    assert abs(second["policy/kl"]) > 1e-6
    assert abs(third["policy/kl"]) > 1e-6
    assert first["policy/ratio"] == 1.0, "one update per step"
    assert first["optimizer/grad_norm"] > 0
    assert "sampler/correction" not in first, "auto is none in fp32"
    assert 0 <= first["sampler/beyond_bound"] <= 1


def test_estimators_of_the_divergence_agree_after_two_steps(trained: dict[str, Any]) -> None:
    """Up to sampling: the tokens here are random, not the policy's, so only the two exact ones can be compared."""
    reverse = trained["ppo_clip exact_reverse"][1]["policy/kl"]
    forward = trained["ppo_clip exact_forward"][1]["policy/kl"]
    assert reverse == pytest.approx(forward, rel=0.2)


def test_a_penalty_in_the_reward_needs_both_log_probabilities(trained: dict[str, Any]) -> None:
    assert trained["reward"]["known"]
    metrics = trained["reward"]["metrics"]
    assert metrics["loss/total"] == metrics["loss/surrogate"]
    assert metrics["policy/log_ratio_max"] < 1e-5
