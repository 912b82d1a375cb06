import math

import pytest
import torch

from prorl_mega.config.schema import KLEstimator
from prorl_mega.recipe.kl import ESTIMATORS, kl_per_token

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


def test_every_kind_has_an_estimator() -> None:
    assert set(ESTIMATORS) == set(KLEstimator)


@pytest.mark.parametrize("kind", list(KLEstimator))
@pytest.mark.parametrize("delta", [-3.0, -0.2, 0.0, 1e-4, 0.7, 4.0])
def test_value_and_gradient(kind: KLEstimator, delta: float) -> None:
    logprob = torch.tensor([-1.5], requires_grad=True)
    value = kl_per_token(logprob, torch.tensor([-1.5 + delta]), kind, clamp=10.0)
    value.sum().backward()
    actual_delta = float(torch.tensor(-1.5 + delta) - torch.tensor(-1.5))
    assert value.item() == pytest.approx(FORMULAS[kind](0.0, actual_delta), rel=1e-5, abs=1e-9)
    assert logprob.grad.item() == pytest.approx(SLOPES[kind](actual_delta), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", list(KLEstimator))
def test_beyond_the_clamp_it_is_constant(kind: KLEstimator) -> None:
    logprobs = torch.tensor([-50.0, -1.0, -200.0], requires_grad=True)
    value = kl_per_token(logprobs, torch.tensor([-1.0, -50.0, -1.0]), kind, clamp=3.0)
    value.sum().backward()
    assert value.tolist() == pytest.approx([FORMULAS[kind](0, 3.0), FORMULAS[kind](0, -3.0), FORMULAS[kind](0, 3.0)])
    assert logprobs.grad.tolist() == [0.0, 0.0, 0.0]


def test_estimators_and_gradients_in_expectation() -> None:
    """E[k1] = E[k3] = KL; the gradients' means are 0, ∇KL(π‖ref) and ∇KL(ref‖π). Exact sums over a vocabulary of 50."""
    torch.manual_seed(0)
    logits = torch.randn(50, dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.randn(50, dtype=torch.float64), 0)
    logprobs = torch.log_softmax(logits, 0)
    probabilities = logprobs.exp()
    reverse = (probabilities * (logprobs - reference)).sum()
    forward = (reference.exp() * (reference - logprobs)).sum()
    wanted = {
        KLEstimator.k1: torch.zeros(50, dtype=torch.float64),
        KLEstimator.k2: torch.autograd.grad(reverse, logits, retain_graph=True)[0],
        KLEstimator.k3: torch.autograd.grad(forward, logits, retain_graph=True)[0],
    }
    for kind in KLEstimator:
        per_token = kl_per_token(logprobs, reference, kind, clamp=100.0)
        if kind is not KLEstimator.k2:
            assert (probabilities * per_token).sum().item() == pytest.approx(reverse.item(), abs=1e-12)
        mean_gradient = torch.autograd.grad((probabilities.detach() * per_token).sum(), logits, retain_graph=True)[0]
        torch.testing.assert_close(mean_gradient, wanted[kind], atol=1e-12, rtol=0)


def test_k3_of_tiny_differences_keeps_its_digits() -> None:
    value = kl_per_token(torch.zeros(2), torch.tensor([1e-3, -1e-3]), KLEstimator.k3, clamp=10.0)
    assert value.tolist() == pytest.approx([5.0017e-7, 4.9983e-7], rel=1e-3)
    nothing = kl_per_token(torch.zeros(5), torch.logspace(-12, -8, 5), KLEstimator.k3, clamp=10.0)
    assert (nothing >= 0).all()
