from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import (
    ImportanceSamplingConfig,
    ImportanceSamplingKind,
    KLConfig,
    KLEstimator,
    KLPlacement,
    LossAggregation,
    PolicyLossConfig,
    PolicyLossKind,
    RecipeConfig,
)
from prorl_mega.recipe.loss import LossInputs, rl_loss, token_weights
from prorl_mega.types import StepHyperparams

RECIPE = RecipeConfig(
    policy_loss=PolicyLossConfig(clip_low=0.2, clip_high=0.4),
    kl=KLConfig(estimator=KLEstimator.k3, clamp=10.0),
    importance_sampling=ImportanceSamplingConfig(kind=ImportanceSamplingKind.none),
)
ALL_TERMS = StepHyperparams(kl=0.3, entropy=0.05, learning_rate=1e-6)
NO_TERMS = StepHyperparams(kl=0.0, entropy=0.0, learning_rate=1e-6)


def inputs(rows: int, *, seed: int = 0, spread: float = 0.4) -> LossInputs:
    generator = np.random.default_rng(seed)
    old = -generator.exponential(size=rows)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    weights = tensor(generator.uniform(0.1, 1, size=rows) / rows)
    return LossInputs(
        logprobs=tensor(old + spread * generator.normal(size=rows)).requires_grad_(),
        entropy=tensor(generator.exponential(size=rows)).requires_grad_(),
        exact_kl=tensor(np.full(rows, 0.25)).requires_grad_(),
        old_logprobs=tensor(old),
        reference_logprobs=tensor(old + generator.normal(size=rows)),
        rollout_logprobs=tensor(old + 0.01 * generator.normal(size=rows)),
        advantages=tensor(generator.normal(size=rows)),
        sequence_ids=torch.zeros(rows, dtype=torch.int64),
        weights=weights,
        metric_weights=weights,
    )


def by_hand(batch: LossInputs, coefficients: StepHyperparams) -> float:
    """Token by token in numpy, with the cases of the clip written out."""
    columns = {field.name: getattr(batch, field.name).detach().numpy() for field in fields(batch)}
    total = 0.0
    for i in range(len(columns["weights"])):
        ratio = np.exp(columns["logprobs"][i] - columns["old_logprobs"][i])
        advantage = columns["advantages"][i]
        bounded = min(ratio, 1.4) if advantage > 0 else max(ratio, 0.8)
        delta = np.clip(columns["reference_logprobs"][i] - columns["logprobs"][i], -10, 10)
        loss = -bounded * advantage + coefficients.kl * (np.exp(delta) - 1 - delta)
        total += columns["weights"][i] * (loss - coefficients.entropy * columns["entropy"][i])
    return total


def slice_of(batch: LossInputs, rows: slice) -> LossInputs:
    return LossInputs(**{field.name: getattr(batch, field.name)[rows] for field in fields(batch)})


@pytest.mark.parametrize("coefficients", [ALL_TERMS, NO_TERMS])
@pytest.mark.parametrize("seed", range(4))
def test_value(coefficients: StepHyperparams, seed: int) -> None:
    batch = inputs(60, seed=seed)
    assert rl_loss(batch, RECIPE, coefficients).loss.item() == pytest.approx(by_hand(batch, coefficients), rel=1e-12)


def test_gradients_by_finite_differences() -> None:
    batch = inputs(25)

    def loss(logprobs: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
        return rl_loss(replace(batch, logprobs=logprobs, entropy=entropy), RECIPE, ALL_TERMS).loss

    assert torch.autograd.gradcheck(loss, (batch.logprobs, batch.entropy))


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope", "metric"),
    [
        (1.5, 1.0, 0.0, "policy/clipped_high"),
        (1.3, 1.0, -1.3, None),  # above 1 + clip_low: the bounds are decoupled
        (0.7, -1.0, 0.0, "policy/clipped_low"),
        (0.7, 1.0, -0.7, None),  # clipping never removes the push back towards the old policy
        (1.5, -1.0, 1.5, None),
        (1.0, 2.0, -2.0, None),
    ],
)
def test_clip(ratio: float, advantage: float, slope: float, metric: str | None) -> None:
    batch = replace(
        inputs(1),
        logprobs=torch.tensor([np.log(ratio)], requires_grad=True),
        old_logprobs=torch.zeros(1, dtype=torch.float64),
        advantages=torch.tensor([advantage], dtype=torch.float64),
        weights=torch.ones(1, dtype=torch.float64),
        metric_weights=torch.ones(1, dtype=torch.float64),
    )
    outputs = rl_loss(batch, RECIPE, NO_TERMS)
    outputs.loss.backward()
    assert batch.logprobs.grad.item() == pytest.approx(slope)
    clipped = {name for name in ("policy/clipped_low", "policy/clipped_high") if outputs.sums[name] > 0}
    assert clipped == ({metric} if metric else set())


EMPTY = ("weights", "metric_weights", "sequence_ids")  # what is 0 in rows that do not count


def test_rows_of_weight_zero_may_hold_anything() -> None:
    batch, clean = inputs(30), inputs(30)
    masked = torch.zeros(30, dtype=torch.bool)
    masked[::3] = True
    for bad in (float("nan"), float("inf"), -float("inf"), 1e30):
        dirty = LossInputs(
            **{
                field.name: torch.where(
                    masked, 0.0 if field.name in EMPTY else bad, getattr(clean, field.name).detach()
                ).to(getattr(clean, field.name).dtype)
                for field in fields(batch)
            }
        )
        dirty.logprobs.requires_grad_()
        dirty.entropy.requires_grad_()
        outputs = rl_loss(dirty, RECIPE, ALL_TERMS)
        outputs.loss.backward()
        kept = rl_loss(
            LossInputs(**{field.name: getattr(clean, field.name)[~masked] for field in fields(batch)}),
            RECIPE,
            ALL_TERMS,
        )
        assert outputs.loss.item() == pytest.approx(kept.loss.item(), rel=1e-12)
        for grad in (dirty.logprobs.grad, dirty.entropy.grad):
            assert (grad[masked] == 0).all()
            assert (grad[~masked] != 0).any()
            assert grad.isfinite().all()
        for name, value in kept.sums.items():
            assert outputs.sums[name].item() == pytest.approx(value.item(), rel=1e-12, abs=1e-15)
        for name, value in kept.maxima.items():
            assert outputs.maxima[name].item() == value.item()


def test_micro_batches_add_up() -> None:
    batch = inputs(41)
    whole = rl_loss(batch, RECIPE, ALL_TERMS)
    parts = [rl_loss(slice_of(batch, rows), RECIPE, ALL_TERMS) for rows in (slice(0, 7), slice(7, 7), slice(7, 41))]
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-12)
    for name, value in whole.sums.items():
        assert sum(part.sums[name].item() for part in parts) == pytest.approx(value.item(), rel=1e-12, abs=1e-15)
    for name, value in whole.maxima.items():
        assert max(part.maxima[name].item() for part in parts) == value.item()


def test_a_coefficient_of_zero_leaves_its_term_out_of_the_graph() -> None:
    batch = inputs(5)
    rl_loss(batch, RECIPE, NO_TERMS).loss.backward()
    assert batch.entropy.grad is None
    assert rl_loss(batch, RECIPE, NO_TERMS).sums["policy/kl"] > 0


def test_an_extreme_ratio_gives_a_finite_gradient() -> None:
    batch = replace(
        inputs(4),
        logprobs=torch.tensor([0.0, 0.0, -3000.0, -3000.0], requires_grad=True),
        old_logprobs=torch.tensor([-3000.0, -3000.0, 0.0, 0.0]),
        advantages=torch.tensor([1.0, -1.0, 1.0, -1.0]),
        weights=torch.ones(4),
        metric_weights=torch.ones(4),
    )
    batch = replace(
        batch,
        **{
            name: getattr(batch, name).detach().float()
            for name in ("entropy", "exact_kl", "reference_logprobs", "rollout_logprobs")
        },
    )
    outputs = rl_loss(batch, RECIPE, ALL_TERMS)
    outputs.loss.backward()
    assert batch.logprobs.grad.isfinite().all()
    assert outputs.maxima["policy/log_ratio_max"] == 3000


def test_an_infinite_logprob_is_visible_in_the_loss() -> None:
    batch = replace(inputs(3), logprobs=torch.tensor([-1.0, torch.nan, -1.0], dtype=torch.float64))
    assert not rl_loss(batch, RECIPE, NO_TERMS).loss.isfinite()


def test_metrics_by_hand() -> None:
    batch = replace(
        inputs(2),
        logprobs=torch.tensor([-1.0, -2.0], dtype=torch.float64),
        old_logprobs=torch.tensor([-1.5, -2.0], dtype=torch.float64),
        rollout_logprobs=torch.tensor([-1.5, -2.5], dtype=torch.float64),
        entropy=torch.tensor([0.5, 1.5], dtype=torch.float64),
        weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
        metric_weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
    )
    outputs = rl_loss(batch, RECIPE, ALL_TERMS)
    assert outputs.sums["policy/entropy"].item() == 1.0
    assert outputs.sums["policy/logprob"].item() == -1.5
    assert outputs.sums["policy/ratio"].item() == pytest.approx((np.exp(0.5) + 1) / 2)
    assert outputs.sums["sampler/logprob_gap"].item() == 0.25
    assert outputs.maxima == {"policy/log_ratio_max": 0.5, "sampler/logprob_gap_max": 0.5}
    assert not any(value.requires_grad for value in (outputs.sums | outputs.maxima).values())


def test_a_correction_weighs_the_surrogate_and_nothing_else() -> None:
    batch = inputs(30)
    tis = replace(
        RECIPE, importance_sampling=ImportanceSamplingConfig(kind=ImportanceSamplingKind.tis, floor=0.0, cap=1.005)
    )
    outputs = rl_loss(batch, tis, ALL_TERMS)
    rho = (batch.old_logprobs - batch.rollout_logprobs).exp().clamp(max=1.005)
    surrogate = rl_loss(replace(batch, weights=batch.weights * rho), RECIPE, NO_TERMS).loss
    plain = rl_loss(batch, RECIPE, ALL_TERMS)
    rest = plain.loss - plain.sums["loss/surrogate"]
    assert outputs.loss.item() == pytest.approx((surrogate + rest).item(), rel=1e-12)
    assert outputs.sums["sampler/correction"].item() == pytest.approx((batch.metric_weights @ rho).item())
    assert outputs.sums["policy/kl"] == plain.sums["policy/kl"]


def test_a_penalty_in_the_reward_is_measured_and_not_in_the_loss() -> None:
    batch = inputs(30)
    in_reward = rl_loss(batch, replace(RECIPE, kl=replace(RECIPE.kl, placement=KLPlacement.reward)), ALL_TERMS)
    without = rl_loss(batch, RECIPE, replace(ALL_TERMS, kl=0.0))
    assert in_reward.loss.item() == without.loss.item()
    assert in_reward.sums["policy/kl"] > 0


@pytest.mark.parametrize("kind", [KLEstimator.exact_reverse, KLEstimator.exact_forward])
def test_an_exact_divergence_enters_as_it_is(kind: KLEstimator) -> None:
    batch = inputs(30)
    outputs = rl_loss(batch, replace(RECIPE, kl=replace(RECIPE.kl, estimator=kind)), ALL_TERMS)
    assert outputs.sums["policy/kl"].item() == pytest.approx(0.25 * batch.metric_weights.sum().item())
    outputs.loss.backward()
    torch.testing.assert_close(batch.exact_kl.grad, ALL_TERMS.kl * batch.weights)


@pytest.mark.parametrize("objective", list(PolicyLossKind))
def test_whole_sequences_add_up_over_micro_batches(objective: PolicyLossKind) -> None:
    batch = replace(inputs(40), sequence_ids=torch.repeat_interleave(torch.arange(4), 10))
    recipe = replace(
        RECIPE,
        policy_loss=replace(RECIPE.policy_loss, kind=objective),
        importance_sampling=ImportanceSamplingConfig(kind=ImportanceSamplingKind.mis, floor=0.9, cap=1.1),
    )
    whole = rl_loss(batch, recipe, ALL_TERMS)
    parts = []
    for rows in (slice(0, 30), slice(30, 40)):
        part = slice_of(batch, rows)
        parts.append(
            rl_loss(replace(part, sequence_ids=part.sequence_ids - part.sequence_ids.min()), recipe, ALL_TERMS)
        )
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-12)
    for name, value in whole.sums.items():
        assert sum(part.sums[name].item() for part in parts) == pytest.approx(value.item(), rel=1e-12, abs=1e-15)


FIXED = 64


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=20), st.sampled_from(LossAggregation))
def test_shares_sum_to_one_over_the_update(lengths: list[int], aggregation: LossAggregation) -> None:
    weights = token_weights(lengths, aggregation, FIXED)
    tokens = np.array(lengths, dtype=float)
    assert weights.loss.shape == weights.metric_weights.shape == (len(lengths),)
    assert float(weights.metric_weights @ tokens) == pytest.approx(1.0 if sum(lengths) else 0.0)
    if aggregation is LossAggregation.fixed_length:
        filled = [length for length in lengths if length]
        assert float(weights.loss @ tokens) == pytest.approx(np.mean(filled) / FIXED if filled else 0.0)
    else:
        assert weights.loss is weights.metric_weights
    for values in (weights.loss, weights.metric_weights):
        assert all(value == 0 for value, length in zip(values, lengths, strict=True) if length == 0)


def test_weights_by_hand() -> None:
    assert token_weights([3, 1], LossAggregation.token_mean, FIXED).loss.tolist() == [0.25, 0.25]
    assert token_weights([4, 1, 0], LossAggregation.sequence_mean, FIXED).loss.tolist() == [0.125, 0.5, 0.0]
    fixed = token_weights([4, 1, 0], LossAggregation.fixed_length, FIXED)
    assert fixed.loss.tolist() == [1 / 128, 1 / 128, 0.0]
    assert fixed.metric_weights.tolist() == [0.2, 0.2, 0.0]
