"""Every surrogate against the paper's equation, written out token by token in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prorl_mega.config.recipe import PolicyLossConfig, PolicyLossKind
from prorl_mega.recipe.policy_loss import (
    MAX_LOG_RATIO,
    POLICY_LOSSES,
    PolicyLossInputs,
    find_policy_loss,
    mean_per_sequence,
)

OWN = str(Path(__file__).parents[2] / "examples" / "my_loss.py") + ":sapo"
LOW, HIGH, DUAL = 0.2, 0.4, 3.0
SETTINGS = PolicyLossConfig(clip_low=LOW, clip_high=HIGH, dual_clip=DUAL)


def inputs(rows: int = 30, *, seed: int = 0, spread: float = 0.6) -> PolicyLossInputs:
    """Rows of four sequences; ratios and advantages of both signs, many beyond the bounds."""
    draw = np.random.default_rng(seed)
    old = torch.tensor(-draw.exponential(size=rows))
    logprobs = (old + torch.tensor(spread * draw.normal(size=rows))).requires_grad_()
    return PolicyLossInputs(
        logprobs=logprobs,
        log_ratio=logprobs - old,
        advantages=torch.tensor(draw.normal(size=rows) * 2),
        sequence_ids=torch.tensor(np.sort(draw.integers(0, 4, rows))),
        metric_weights=torch.full((rows,), 1 / max(1, rows), dtype=torch.float64),
    )


def clip(ratio: float) -> float:
    return min(max(ratio, 1 - LOW), 1 + HIGH)


def ppo(ratio: float, advantage: float, logprob: float) -> float:
    return -min(ratio * advantage, clip(ratio) * advantage)


def dual(ratio: float, advantage: float, logprob: float) -> float:
    gain = min(ratio * advantage, clip(ratio) * advantage)
    return -max(gain, DUAL * advantage) if advantage < 0 else -gain


def cispo(ratio: float, advantage: float, logprob: float) -> float:
    return -clip(ratio) * advantage * logprob


PAPERS: dict[PolicyLossKind, Callable[[float, float, float], float]] = {
    PolicyLossKind.ppo_clip: ppo,
    PolicyLossKind.dual_clip: dual,
    PolicyLossKind.cispo: cispo,
    PolicyLossKind.gspo: ppo,  # of the sequence's ratio
}


def plain_ratios(batch: PolicyLossInputs, kind: PolicyLossKind) -> list[float]:
    logs, sequence_ids = batch.log_ratio.tolist(), batch.sequence_ids.tolist()
    if kind is not PolicyLossKind.gspo:
        return [math.exp(each) for each in logs]
    by_owner = {owner: [x for x, o in zip(logs, sequence_ids, strict=True) if o == owner] for owner in sequence_ids}
    return [math.exp(sum(by_owner[owner]) / len(by_owner[owner])) for owner in sequence_ids]


def test_every_kind_has_a_function() -> None:
    assert set(POLICY_LOSSES) == set(PolicyLossKind) == set(PAPERS)


@pytest.mark.parametrize("kind", list(PolicyLossKind))
@pytest.mark.parametrize("seed", range(3))
def test_values(kind: PolicyLossKind, seed: int) -> None:
    batch = inputs(60, seed=seed, spread=1.5)
    wanted = [
        PAPERS[kind](*each)
        for each in zip(plain_ratios(batch, kind), batch.advantages.tolist(), batch.logprobs.tolist(), strict=True)
    ]
    outputs = POLICY_LOSSES[kind](batch, SETTINGS)
    np.testing.assert_allclose(outputs.losses.detach().numpy(), wanted, rtol=1e-12)
    assert outputs.sums["policy/ratio"].item() == pytest.approx(np.mean(plain_ratios(batch, kind)), rel=1e-12)
    if kind is not PolicyLossKind.gspo:
        assert outputs.sums["policy/clipped_low"] > 0
        assert outputs.sums["policy/clipped_high"] > 0
    if kind is PolicyLossKind.dual_clip:
        assert outputs.sums["policy/clipped_dual"] > 0


@pytest.mark.parametrize("kind", [PolicyLossKind.ppo_clip, PolicyLossKind.dual_clip, PolicyLossKind.gspo])
def test_gradients_by_finite_differences(kind: PolicyLossKind) -> None:
    batch = inputs()
    old = (batch.logprobs - batch.log_ratio).detach()

    def losses(logprobs: torch.Tensor) -> torch.Tensor:
        return POLICY_LOSSES[kind](replace(batch, logprobs=logprobs, log_ratio=logprobs - old), SETTINGS).losses

    assert torch.autograd.gradcheck(losses, (batch.logprobs.detach().requires_grad_(),))


def test_cispo_weighs_every_token_and_silences_none() -> None:
    """Its gradient is −sg(clip(r)) A: finite differences of the loss would see the weight move as well."""
    batch = inputs(spread=1.5)
    (grad,) = torch.autograd.grad(POLICY_LOSSES[PolicyLossKind.cispo](batch, SETTINGS).losses.sum(), batch.logprobs)
    wanted = [
        -clip(ratio) * advantage
        for ratio, advantage in zip(plain_ratios(batch, PolicyLossKind.cispo), batch.advantages.tolist(), strict=True)
    ]
    np.testing.assert_allclose(grad.numpy(), wanted, rtol=1e-12)


def test_gspo_moves_all_tokens_of_an_answer_alike() -> None:
    batch = replace(inputs(spread=0.01), advantages=torch.ones(30, dtype=torch.float64))
    (grad,) = torch.autograd.grad(POLICY_LOSSES[PolicyLossKind.gspo](batch, SETTINGS).losses.sum(), batch.logprobs)
    for owner in set(batch.sequence_ids.tolist()):
        of_answer = grad[batch.sequence_ids == owner]
        assert of_answer.tolist() == pytest.approx([of_answer[0].item()] * len(of_answer))
        ratio = batch.log_ratio[batch.sequence_ids == owner].mean().exp().item()
        assert of_answer[0].item() == pytest.approx(-ratio)  # −s A / T, T times


def test_dual_clip_bounds_the_loss_of_bad_tokens_only() -> None:
    logprobs = torch.tensor([2.0, 2.0], dtype=torch.float64, requires_grad=True)
    batch = PolicyLossInputs(
        logprobs=logprobs,
        log_ratio=logprobs - 0.0,
        advantages=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        sequence_ids=torch.tensor([0, 1]),
        metric_weights=torch.full((2,), 0.5, dtype=torch.float64),
    )
    outputs = POLICY_LOSSES[PolicyLossKind.dual_clip](batch, SETTINGS)
    outputs.losses.sum().backward()
    assert outputs.losses.tolist() == [DUAL, -(1 + HIGH)]
    assert logprobs.grad.tolist() == [0.0, 0.0]
    assert outputs.sums["policy/clipped_dual"] == 0.5


@pytest.mark.parametrize("kind", [*PolicyLossKind, OWN])
def test_ratios_that_overflow_stay_finite(kind: str) -> None:
    extreme = torch.tensor([3000.0, -3000.0, 1e30, -math.inf])
    logprobs = torch.zeros(4, requires_grad=True)
    batch = PolicyLossInputs(
        logprobs=logprobs,
        log_ratio=logprobs + extreme,
        advantages=torch.tensor([1.0, -1.0, -1.0, 1.0]),
        sequence_ids=torch.arange(4),
        metric_weights=torch.full((4,), 0.25),
    )
    outputs = find_policy_loss(kind)(batch, SETTINGS)
    outputs.losses.sum().backward()
    assert outputs.losses.isfinite().all()
    assert logprobs.grad.isfinite().all()
    assert outputs.losses.abs().max() <= math.exp(MAX_LOG_RATIO) * 1.0001


@pytest.mark.parametrize("kind", [*PolicyLossKind, OWN])
def test_no_rows_have_every_metric(kind: str) -> None:
    outputs = find_policy_loss(kind)(inputs(0), SETTINGS)
    assert outputs.losses.shape == (0,)
    assert outputs.sums.keys() == find_policy_loss(kind)(inputs(), SETTINGS).sums.keys()
    assert all(value.item() == 0 for value in outputs.sums.values())


@pytest.mark.parametrize("kind", [*PolicyLossKind, OWN])
def test_answers_add_up_over_micro_batches(kind: str) -> None:
    batch = inputs()
    whole, parts = find_policy_loss(kind)(batch, SETTINGS), []
    for own in (batch.sequence_ids < 2, batch.sequence_ids >= 2):
        rows = PolicyLossInputs(**{field.name: getattr(batch, field.name)[own] for field in fields(batch)})
        rows = replace(rows, sequence_ids=rows.sequence_ids - rows.sequence_ids.min())
        parts.append((own, find_policy_loss(kind)(rows, SETTINGS)))
    for own, part in parts:
        torch.testing.assert_close(part.losses, whole.losses[own])
    for name, value in whole.sums.items():
        torch.testing.assert_close(sum(part.sums[name] for _, part in parts), value)


def test_one_of_ones_own_is_what_it_says() -> None:
    batch = inputs()
    (grad,) = torch.autograd.grad(find_policy_loss(OWN)(batch, SETTINGS).losses.sum(), batch.logprobs)
    ratio, good = batch.log_ratio.exp(), batch.advantages > 0
    temperature = torch.where(good, 1.0, 1.05).double()
    weight = 4 * torch.sigmoid(temperature * (ratio - 1)) * torch.sigmoid(-temperature * (ratio - 1))
    torch.testing.assert_close(grad, -weight * ratio * batch.advantages)


@pytest.mark.parametrize("kind", list(PolicyLossKind))
def test_one_row(kind: PolicyLossKind) -> None:
    one = inputs(1)
    wanted = PAPERS[kind](math.exp(one.log_ratio.item()), one.advantages.item(), one.logprobs.item())
    assert POLICY_LOSSES[kind](one, SETTINGS).losses.item() == pytest.approx(wanted)


def test_mean_per_sequence_does_not_care_for_the_order_of_rows() -> None:
    values = torch.tensor([1.0, 10.0, 3.0, 30.0, 5.0])
    sequence_ids = torch.tensor([0, 4, 0, 4, 0])
    assert mean_per_sequence(values, sequence_ids).tolist() == [3.0, 20.0, 3.0, 20.0, 3.0]
