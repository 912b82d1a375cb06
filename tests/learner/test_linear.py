"""The product of the host's linear layers; their collectives are covered by the tests of invariance."""

from __future__ import annotations

import pytest
import torch

from prorl_mega.learner.linear import _HostLinear, has_host_product, row_multiple

pytestmark = pytest.mark.skipif(not has_host_product(), reason="this torch has no oneDNN")


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    "tokens", [1, 37, 256]
)  # a gradient of one row, one that fills no tile of the product, and one that does
def test_product_and_gradients_are_those_of_torch(tokens: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(tokens, 1, 48, requires_grad=True)
    weight = torch.randn(80, 48, requires_grad=True)
    bias = torch.randn(80, requires_grad=True) if with_bias else None
    leaves = [leaf for leaf in (inputs, weight, bias) if leaf is not None]
    upstream = torch.randn(80, 1, tokens).transpose(0, 2)  # strided, as views of larger gradients are
    ours = _HostLinear.apply(inputs, weight, bias)
    truth = torch.nn.functional.linear(*(None if leaf is None else leaf.double() for leaf in (inputs, weight, bias)))
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-5)
    for mine, exact in zip(
        torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(truth, leaves, upstream.double()), strict=True
    ):
        torch.testing.assert_close(mine.double(), exact.double(), rtol=1e-5, atol=1e-4)


def test_packs_are_rounded_to_few_sizes_where_that_fits() -> None:
    cpu = torch.device("cpu")
    assert row_multiple(2048, 1, cpu) == 128
    assert row_multiple(1536, 6, cpu) == 384
    assert row_multiple(2048, 6, cpu) == 6  # 384 does not divide the capacity, which sequences may need in full
    assert row_multiple(192, 1, cpu) == 64
    assert row_multiple(41, 1, cpu) == 1
    assert row_multiple(2048, 4, torch.device("cuda")) == 4
