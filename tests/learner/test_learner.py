"""What one learner promises to the loop, on one rank and, where ranks could disagree, on two."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import TWO_UPDATES, bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats
from prorl_mega.errors import NumericsError
from prorl_mega.learner import forward_backward
from prorl_mega.learner.learner import MegatronLearner
from prorl_mega.types import StepHyperparams

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.0, learning_rate=1e-2)


def promises(path: Path) -> dict[str, Any]:
    """Everything is tried in one process; the tests below look at one result each."""
    return {
        "on policy": on_policy(path),
        "reset": reset(path),
        "supervise": sft_step(path),
        "numerics": numerics(path),
        "no penalty": no_penalty(path),
        "weight decay": weight_decay(path),
        "clipping": clipping(path),
        "kept logits": kept_logits(path),
    }


def on_policy(path: Path) -> dict[str, Any]:
    """One update per step: `compute_log_probs` leaves the old log-probabilities to `update`."""
    learner = make_learner(path)
    sequences = make_sequences(10)
    learner.compute_log_probs(sequences)
    left_out = all(sequence.old_logprobs is None for sequence in sequences)
    metrics = learner.update(sequences, COEFFICIENTS)
    twice = make_learner(path, recipe=TWO_UPDATES)
    asked = make_sequences(10)
    twice.compute_log_probs(asked)
    return {
        "left out": left_out,
        "metrics": metrics,
        "filled in": [sequence.old_logprobs for sequence in sequences],
        "asked": [sequence.old_logprobs for sequence in asked],
        "same step": twice.update(asked, COEFFICIENTS),
    }


def reset(path: Path) -> dict[str, Any]:
    """Two updates, a reset, two more; then a new learner from the weights at the reset makes the last two as well."""
    learner = make_learner(path)
    kl = []
    for step in range(4):
        kl.append(one_update(learner, step))
        if step == 1:
            learner.reset_reference(clear_optimizer=True)
            start = {name: value.clone() for name, value in learner.parameters().items()}
    final = bits(learner)
    fresh = make_learner(path)
    for name, value in fresh.parameters().items():
        value.copy_(start[name])
    fresh.adopt_parameters()
    adopted = [one_update(fresh, step) for step in (2, 3)]
    return {"kl": kl, "adopted": adopted, "alike": same_bits(bits(fresh), final)}


def one_update(learner: MegatronLearner, seed: int) -> float:
    """The KL divergence from the reference that an update measures."""
    sequences = make_sequences(10, seed=seed)
    learner.compute_log_probs(sequences)
    return learner.update(sequences, COEFFICIENTS)["policy/kl"]


def sft_step(path: Path) -> list[dict[str, float]]:
    learner = make_learner(path)
    sequences = make_sequences(10)
    return [learner.sft_step(sequences, 3e-3) for _ in range(8)]


def numerics(path: Path) -> dict[str, Any]:
    learner = make_learner(path)
    sequences = make_sequences(10)
    learner.compute_log_probs(sequences)
    learner.update(sequences, COEFFICIENTS)
    before = bits(learner)
    broken = make_sequences(10, seed=1)
    learner.compute_log_probs(broken)
    broken[3].advantage = math.nan
    message = ""
    try:
        learner.update(broken, COEFFICIENTS)
    except NumericsError as error:
        message = str(error)
    unchanged = same_bits(bits(learner), before)
    sequences = make_sequences(10, seed=2)
    learner.compute_log_probs(sequences)
    return {"message": message, "unchanged": unchanged, "next": learner.update(sequences, COEFFICIENTS)}


def no_penalty(path: Path) -> dict[str, Any]:
    learner = make_learner(path, recipe={"kl.coef": 0.0})
    sequences = make_sequences(4)
    learner.compute_log_probs(sequences)
    metrics = learner.update(sequences, StepHyperparams(kl=0.0, entropy=0.0, learning_rate=1e-3))
    return {"metrics": metrics, "reference": [sequence.reference_logprobs for sequence in sequences]}


def weight_decay(path: Path) -> dict[str, float]:
    """How much parameters shrink by decay alone: the difference that `weight_decay` makes in one step."""
    after = []
    for decay in (0.0, 0.5):
        learner = make_learner(path, optimizer={"weight_decay": decay})
        before = {name: value.clone() for name, value in learner.parameters().items()}
        sequences = make_sequences(4)
        learner.compute_log_probs(sequences)
        learner.update(sequences, COEFFICIENTS)
        after.append(learner.parameters())
    return {
        name: float((after[1][name] - after[0][name]).norm() / (COEFFICIENTS.learning_rate * 0.5 * value).norm())
        for name, value in before.items()
    }


def clipping(path: Path) -> tuple[dict[str, float], float]:
    """Metrics of a clipped update, and the norm of the gradient that Adam saw."""
    learner = make_learner(path, optimizer={"max_grad_norm": 0.01})
    sequences = make_sequences(4)
    learner.compute_log_probs(sequences)
    metrics = learner.update(sequences, COEFFICIENTS)
    moments = [value for name, value in learner._optimizer.state().items() if name.endswith("/exp_avg")]
    return metrics, float(torch.stack([moment.norm() for moment in moments]).norm() / 0.1)


def kept_logits(path: Path) -> dict[str, Any]:
    """Budgets of `linear_token_stats` in an update, and what it changes."""
    budgets: list[int] = []

    def noting(*arguments: Any, **options: Any) -> TokenStats:
        budgets.append(options["cache_bytes"])
        return linear_token_stats(*arguments, **options)

    metrics = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward_backward, "linear_token_stats", noting)
        for mib in (0, 3):
            learner = make_learner(path, logits_cache_mib=mib)
            metrics.append(one_update(learner, seed=1))
    return {"budgets": set(budgets), "metrics": metrics}


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tiny_checkpoint(tmp_path_factory.mktemp("model"), "qwen2")
    return run_ranks(promises, 2, path, timeout_s=150)


@pytest.fixture
def found(by_rank: list[dict[str, Any]]) -> dict[str, Any]:
    return by_rank[0]


def test_one_update_per_step_needs_no_pass_for_old_log_probabilities(found: dict[str, Any]) -> None:
    result = found["on policy"]
    assert result["left out"]
    assert result["metrics"]["policy/log_ratio_max"] == 0.0
    for filled, asked in zip(result["filled in"], result["asked"], strict=True):
        np.testing.assert_allclose(filled, asked, atol=1e-6, rtol=0)
    for key, value in result["metrics"].items():
        assert value == pytest.approx(result["same step"][key], rel=1e-5, abs=1e-6), key


def test_metrics_are_equal_on_all_ranks(by_rank: list[dict[str, Any]]) -> None:
    assert by_rank[0]["on policy"]["metrics"] == by_rank[1]["on policy"]["metrics"]
    assert by_rank[0]["supervise"] == by_rank[1]["supervise"]


def test_after_a_reset_the_policy_is_its_own_reference(found: dict[str, Any]) -> None:
    kl = found["reset"]["kl"]
    assert kl[0] == 0.0
    assert kl[1] > 1e-4
    assert kl[2] == 0.0, "the update after the reset"
    assert kl[3] > 1e-4
    assert found["reset"]["adopted"] == kl[2:]


def test_after_a_reset_the_optimizer_starts_afresh(by_rank: list[dict[str, Any]]) -> None:
    assert all(found["reset"]["alike"] for found in by_rank)


def test_supervision_lowers_the_loss(found: dict[str, Any]) -> None:
    losses = [metrics["loss/total"] for metrics in found["supervise"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.3


def test_what_is_not_finite_is_not_applied(by_rank: list[dict[str, Any]]) -> None:
    for found in by_rank:
        assert "loss/total=nan" in found["numerics"]["message"]
        assert found["numerics"]["unchanged"]
        assert math.isfinite(found["numerics"]["next"]["loss/total"]), "the learner can go on"


def test_without_a_penalty_nobody_asks_the_reference(found: dict[str, Any]) -> None:
    assert found["no penalty"]["reference"] == [None] * 4
    assert "policy/kl" not in found["no penalty"]["metrics"]


def test_weight_decay_spares_norms_and_biases(found: dict[str, Any]) -> None:
    for name, share in found["weight decay"].items():
        spared = name.endswith(".bias") or "norm" in name
        assert share == pytest.approx(0.0 if spared else 1.0, abs=1e-3), name


def test_logits_are_kept_within_the_budget_of_the_settings(found: dict[str, Any]) -> None:
    assert found["kept logits"]["budgets"] == {0, 3 << 20}
    without, kept = found["kept logits"]["metrics"]
    assert without == pytest.approx(kept, rel=1e-6)


def test_gradients_are_clipped_by_their_global_norm(by_rank: list[dict[str, Any]]) -> None:
    metrics = by_rank[0]["clipping"][0]
    assert metrics["optimizer/grad_norm"] > 1.0, "reported before clipping"
    seen = math.hypot(*(found["clipping"][1] for found in by_rank))  # each rank holds half of the moments
    assert seen == pytest.approx(0.01, rel=1e-3)
