"""Functions whose result for a token is the same bits in every batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from prorl_mega.invariant.attention import attend
from prorl_mega.invariant.gate import gated
from prorl_mega.invariant.norm import rms_norm
from prorl_mega.invariant.product import product
from prorl_mega.invariant.rotary import turned

ROWS = (1, 2, 3, 16, 33)
WIDTHS = (17, 64, 200)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_a_row_has_the_same_bits_in_every_batch(width: int, rows: int) -> None:
    x, weight, bias = normal(40, width), normal(96, width, seed=1), normal(96, seed=2)
    one = x[7:].narrow(0, 0, rows).clone() if rows < 33 else x[7:]
    for function in (
        lambda each: product(each, weight, bias),
        lambda each: product(each, weight[:31]),
        lambda each: rms_norm(each, weight[0], 1e-6),
        lambda each: gated(each if width % 2 == 0 else each[:, 1:]),
    ):
        assert torch.equal(function(one), function(x)[7 : 7 + len(one)])


def test_columns_do_not_matter_either() -> None:
    x, weight = normal(5, 64), normal(300, 64, seed=1)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    assert torch.equal(product(x, weight[order]), product(x, weight)[:, order])


def test_they_compute_what_their_names_say() -> None:
    x, weight = normal(9, 64), normal(64, seed=1)
    assert torch.allclose(rms_norm(x, weight, 1e-6), F.rms_norm(x, (64,), weight, 1e-6), atol=1e-6)
    assert torch.allclose(gated(x), F.silu(x[:, :32]) * x[:, 32:], atol=1e-6)
    frequencies = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    heads = normal(3, 2, 12)
    at = torch.tensor([0, 5, 19])
    angles = torch.outer(at.float(), frequencies).unsqueeze(1)
    cosines, sines = angles.cos(), angles.sin()
    found = turned(heads, torch.cat((cosines, cosines), -1), torch.cat((-sines, sines), -1))
    planes = torch.view_as_complex(torch.stack((heads[..., :4], heads[..., 4:8]), -1))
    expected = torch.view_as_real(planes * torch.polar(torch.ones(3, 4), torch.outer(at.float(), frequencies))[:, None])
    assert torch.allclose(found, torch.cat((expected[..., 0], expected[..., 1], heads[..., 8:]), -1), atol=1e-6)


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (1, 1)])
@pytest.mark.parametrize("tokens", [1, 5, 64, 65, 150])
def test_attention_token_by_token_has_the_bits_of_attention_at_once(heads: int, kv_heads: int, tokens: int) -> None:
    query, key, value = (
        normal(tokens, heads, 32),
        normal(tokens, kv_heads, 32, seed=1),
        normal(tokens, kv_heads, 32, seed=2),
    )
    at_once = attend(query, key, value, 0.2)
    expected = F.scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        key.transpose(0, 1)[None],
        value.transpose(0, 1)[None],
        is_causal=True,
        scale=0.2,
        enable_gqa=True,
    )[0].transpose(0, 1)
    assert torch.allclose(at_once, expected, atol=1e-5)
    for end in range(1, tokens + 1, 7):
        one = attend(query[end - 1 : end], key[:end], value[:end], 0.2)
        assert torch.equal(one, at_once[end - 1 : end]), end
        part = attend(query[end // 2 : end], key[:end], value[:end], 0.2)
        assert torch.equal(part, at_once[end // 2 : end]), end
