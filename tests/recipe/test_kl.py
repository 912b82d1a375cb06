import math

import numpy as np
import pytest
import torch

from prorl_kernels.linear_token_stats import linear_token_stats
from prorl_mega.config.recipe import KLConfig, KLEstimator
from prorl_mega.recipe.kl import ESTIMATORS, EXACT, KLInputs, kl_per_token

FORMULAS = {
    KLEstimator.k1: lambda logp, logq: logp - logq,
    KLEstimator.k2: lambda logp, logq: 0.5 * (logp - logq) ** 2,
    KLEstimator.k3: lambda logp, logq: math.exp(logq - logp) - 1 - (logq - logp),
}
SLOPES = {  # d/d log p
    KLEstimator.k1: lambda delta: 1.0,
    KLEstimator.k2: lambda delta: -delta,
    KLEstimator.k3: lambda delta: 1 - math.exp(delta),
}
SAMPLED = list(FORMULAS)


def kl(
    logprobs: torch.Tensor, reference: torch.Tensor, kind: KLEstimator, clamp: float = 10.0, output: float = 0.0
) -> torch.Tensor:
    inputs = KLInputs(logprobs=logprobs, reference_logprobs=reference, exact=torch.zeros_like(reference))
    return kl_per_token(inputs, KLConfig(estimator=kind, clamp=clamp, output_clamp=output))


def test_every_kind_has_an_estimator() -> None:
    assert set(ESTIMATORS) == set(KLEstimator) == set(SAMPLED) | set(EXACT)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("delta", [-3.0, -0.2, 0.0, 1e-4, 0.7, 4.0])
def test_value_and_gradient(kind: KLEstimator, delta: float) -> None:
    logprob = torch.tensor([-1.5], requires_grad=True)
    value = kl(logprob, torch.tensor([-1.5 + delta]), kind)
    value.sum().backward()
    actual_delta = float(torch.tensor(-1.5 + delta) - torch.tensor(-1.5))
    assert value.item() == pytest.approx(FORMULAS[kind](0.0, actual_delta), rel=1e-5, abs=1e-9)
    assert logprob.grad.item() == pytest.approx(SLOPES[kind](actual_delta), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", SAMPLED)
def test_beyond_the_clamp_it_is_constant(kind: KLEstimator) -> None:
    logprobs = torch.tensor([-50.0, -1.0, -200.0, -torch.inf], requires_grad=True)
    value = kl(logprobs, torch.tensor([-1.0, -50.0, -1.0, -1.0]), kind, clamp=3.0)
    value.sum().backward()
    near, far = FORMULAS[kind](0, 3.0), FORMULAS[kind](0, -3.0)
    assert value.tolist() == pytest.approx([near, far, near, near])
    assert logprobs.grad.tolist() == [0.0] * 4


@pytest.mark.parametrize("kind", list(KLEstimator))
def test_the_output_clamp_bounds_the_value_on_both_sides(kind: KLEstimator) -> None:
    logprobs = torch.tensor([-1.0, -9.0, -4.0], requires_grad=True)
    exact = torch.tensor([6.0, 7.0, 0.1], requires_grad=True)
    inputs = KLInputs(logprobs=logprobs, reference_logprobs=torch.tensor([-9.0, -1.0, -4.1]), exact=exact)
    value = kl_per_token(inputs, KLConfig(estimator=kind, output_clamp=2.0))
    value.sum().backward()
    assert value[:2].abs().tolist() == [2.0, 2.0]
    assert 0 < abs(value[2].item()) < 2
    grad = exact.grad if kind in EXACT else logprobs.grad
    assert grad[:2].tolist() == [0.0, 0.0]
    assert grad[2] != 0


def policy_and_reference(vocabulary: int) -> dict[str, torch.Tensor]:
    """Hidden state and LM head of two models in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden": (1, 6), "weight": (vocabulary, 6), "ref_hidden": (1, 6), "ref_weight": (vocabulary, 6)}
    return {key: torch.randn(shape, dtype=torch.float64, generator=generator) / 2 for key, shape in shapes.items()}


def test_means_and_gradients_in_expectation_through_the_kernels() -> None:
    """E[k1] = E[k3] = exact KL; the gradients' means are 0, ∇KL(π‖ρ) and ∇KL(ρ‖π), which are those of the exact ones.

    The expectation is a sum over all 50 tokens, each evaluated as if it had been sampled.
    """
    size, models = 50, policy_and_reference(50)
    hidden = models["hidden"].requires_grad_()
    every = torch.arange(size)
    stats = linear_token_stats(
        hidden.expand(size, -1),
        models["weight"],
        every,
        ref_hidden=models["ref_hidden"].expand(size, -1),
        ref_weight=models["ref_weight"],
    )
    probabilities = stats.logprob.detach().exp()
    assert probabilities.sum().item() == pytest.approx(1.0)
    means, gradients = {}, {}
    for kind in KLEstimator:
        exact = getattr(stats, EXACT[kind]) if kind in EXACT else torch.zeros(size, dtype=torch.float64)
        inputs = KLInputs(logprobs=stats.logprob, reference_logprobs=stats.ref_logprob, exact=exact)
        value = (probabilities * kl_per_token(inputs, KLConfig(estimator=kind, clamp=100.0))).sum()
        means[kind] = value.item()
        gradients[kind] = torch.autograd.grad(value, hidden, retain_graph=True)[0]
    exact_value = means[KLEstimator.exact_reverse]
    assert exact_value > 0.05
    assert means[KLEstimator.k1] == pytest.approx(exact_value, rel=1e-9)
    assert means[KLEstimator.k3] == pytest.approx(exact_value, rel=1e-9)
    assert means[KLEstimator.k2] != pytest.approx(exact_value, rel=1e-3), "biased"
    assert gradients[KLEstimator.k1].abs().max() < 1e-12
    torch.testing.assert_close(gradients[KLEstimator.k2], gradients[KLEstimator.exact_reverse], rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(gradients[KLEstimator.k3], gradients[KLEstimator.exact_forward], rtol=1e-8, atol=1e-11)
    assert (gradients[KLEstimator.k2] - gradients[KLEstimator.k3]).abs().max() > 1e-3, "they are not the same"


def test_monte_carlo_means_of_k1_and_k3_are_the_exact_divergence() -> None:
    samples, models = 200_000, policy_and_reference(20)
    logits = (models["hidden"] @ models["weight"].T)[0]
    generator = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(logits.softmax(0), samples, replacement=True, generator=generator)
    every = torch.arange(20)
    stats = linear_token_stats(
        models["hidden"].expand(20, -1),
        models["weight"],
        every,
        ref_hidden=models["ref_hidden"].expand(20, -1),
        ref_weight=models["ref_weight"],
    )
    exact = stats.kl_reverse[0].item()
    for kind in (KLEstimator.k1, KLEstimator.k3):
        values = kl(stats.logprob[drawn], stats.ref_logprob[drawn], kind, clamp=100.0).numpy()
        error = values.std() / np.sqrt(samples)
        assert error < 0.01
        assert abs(values.mean() - exact) < 4 * error


def test_gradient_of_exact_divergences_by_finite_differences() -> None:
    models = policy_and_reference(9)
    targets = torch.tensor([3])
    for kind, field in EXACT.items():

        def divergence(hidden: torch.Tensor, kind: KLEstimator = kind, field: str = field) -> torch.Tensor:
            stats = linear_token_stats(
                hidden, models["weight"], targets, ref_hidden=models["ref_hidden"], ref_weight=models["ref_weight"]
            )
            inputs = KLInputs(
                logprobs=stats.logprob, reference_logprobs=stats.logprob.detach(), exact=getattr(stats, field)
            )
            return kl_per_token(inputs, KLConfig(estimator=kind))

        assert torch.autograd.gradcheck(divergence, (models["hidden"].clone().requires_grad_(),))


def test_k3_of_tiny_differences_keeps_its_digits() -> None:
    value = kl(torch.zeros(2), torch.tensor([1e-3, -1e-3]), KLEstimator.k3)
    assert value.tolist() == pytest.approx([5.0017e-7, 4.9983e-7], rel=1e-3)
    nothing = kl(torch.zeros(5), torch.logspace(-12, -8, 5), KLEstimator.k3)
    assert (nothing >= 0).all()
