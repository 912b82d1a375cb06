"""Exact KL to a reference, softcap and ignored rows against fp64; what the estimators of KL are estimates of."""

from typing import Any

import pytest
import torch
from helpers.exact_token_stats import Example, example, furthest, gradients, relative

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats
from prorl_kernels.linear_token_stats.stats import empty_statistics, merge
from prorl_kernels.linear_token_stats.tiles import tile_statistics


def stats_of(made: Example, **changes: Any) -> TokenStats:
    return linear_token_stats(**(made.arguments | changes))


@pytest.mark.parametrize("implementation", ["chunked", "reference"])
@pytest.mark.parametrize("softcap", [None, 6.0])
@pytest.mark.parametrize("temperature", [False, True])
@pytest.mark.parametrize(
    ("tokens", "width", "vocab", "ref_width", "chunk_bytes"),
    [(1, 8, 1, 8, None), (7, 16, 100, 16, None), (37, 33, 507, 20, 30_000), (65, 16, 4099, 16, 200_000)],
)
def test_matches_fp64(
    tokens: int,
    width: int,
    vocab: int,
    ref_width: int,
    chunk_bytes: int | None,
    temperature: bool,
    softcap: float | None,
    implementation: str,
) -> None:
    made = example(tokens, width, vocab, ref_width=ref_width, temperature=temperature, softcap=softcap, scale=2.0)
    stats = stats_of(made, chunk_bytes=chunk_bytes, implementation=implementation)
    truth = made.exact()
    assert stats.ref_logprob is not None
    assert not stats.ref_logprob.requires_grad
    assert furthest(stats, truth) <= 1e-5
    if vocab > 1:
        upstream = torch.randn(4, tokens)
        actual = gradients(stats, upstream, made.hidden, made.weight)
        expected = gradients(truth, upstream, made.hidden, made.weight)
        assert all(relative(a, e) <= 2e-5 for a, e in zip(actual, expected, strict=True))


def test_gradcheck_of_everything_at_once() -> None:
    made = example(5, 4, 23, ref_width=3, temperature=True, softcap=2.0)
    doubles = {
        k: v.detach().double() for k, v in made.arguments.items() if torch.is_tensor(v) and v.is_floating_point()
    }

    def outputs(hidden: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        stats = stats_of(made, **(doubles | {"hidden": hidden, "weight": weight}), chunk_bytes=600)
        return stats.logprob, stats.entropy, stats.kl_reverse, stats.kl_forward

    inputs = (doubles["hidden"].requires_grad_(), doubles["weight"].requires_grad_())
    assert torch.autograd.gradcheck(outputs, inputs)


@pytest.mark.parametrize("distance", [1e-3, 1e-2, 1e-1, 1.0])
def test_kl_of_a_near_reference(distance: float) -> None:
    made = example(64, 32, 20_000)
    made.ref_hidden = made.hidden.detach()
    made.ref_weight = made.weight.detach() + distance * 4 / 32**0.5 * torch.randn_like(made.weight)
    stats, truth = stats_of(made), made.exact()
    for actual, expected in ((stats.kl_reverse, truth.kl_reverse), (stats.kl_forward, truth.kl_forward)):
        assert actual is not None
        assert expected is not None
        assert (actual >= 0).all()
        assert (actual - expected).abs().max() <= 5e-6 + 2e-6 * float(expected.detach().max())


def test_kl_to_itself_is_zero() -> None:
    made = example(33, 16, 5003, temperature=True, softcap=20.0)
    made.ref_hidden, made.ref_weight = made.hidden.detach(), made.weight.detach()
    stats = stats_of(made)
    assert stats.kl_reverse is not None
    assert stats.kl_forward is not None
    assert stats.ref_logprob is not None
    assert stats.kl_reverse.max() <= 1e-6
    assert stats.kl_forward.max() <= 1e-6
    torch.testing.assert_close(stats.ref_logprob, stats.logprob.detach(), rtol=0, atol=2e-6)


def test_estimators_agree_with_exact_kl() -> None:
    """E k1 = E k3 = KL, and over sampled tokens E ∇k2 = ∇KL_reverse, E ∇k3 = ∇KL_forward."""
    vocab, samples = 50, 200_000
    made = example(1, 8, vocab, ref_width=8, scale=1.0)
    logprobs = made.exact()
    truth = [float(each.detach()) for each in logprobs if each is not None]
    everything = stats_of(
        Example(
            hidden=made.hidden.detach().expand(vocab, -1),
            weight=made.weight.detach(),
            targets=torch.arange(vocab),
            ref_hidden=None if made.ref_hidden is None else made.ref_hidden.expand(vocab, -1),
            ref_weight=made.ref_weight,
        )
    )
    assert everything.ref_logprob is not None
    drawn = torch.multinomial(everything.logprob.exp(), samples, replacement=True)
    delta = (everything.ref_logprob - everything.logprob)[drawn].double()
    for estimate in (-delta, delta.exp() - 1 - delta):
        error = estimate.std() / samples**0.5
        assert abs(float(estimate.mean()) - truth[3]) <= 5 * float(error)

    # the exact expectation over all tokens, weighted by p: no sampling noise in the gradients
    hidden = made.hidden.detach().clone().requires_grad_()
    expanded = stats_of(
        Example(
            hidden=hidden.expand(vocab, -1),
            weight=made.weight.detach(),
            targets=torch.arange(vocab),
            ref_hidden=None if made.ref_hidden is None else made.ref_hidden.expand(vocab, -1),
            ref_weight=made.ref_weight,
        )
    )
    assert expanded.ref_logprob is not None
    p, delta = everything.logprob.exp(), expanded.ref_logprob - expanded.logprob
    (of_k2,) = torch.autograd.grad((p * delta.square() / 2).sum(), hidden, retain_graph=True)
    (of_k3,) = torch.autograd.grad((p * (delta.exp() - 1 - delta)).sum(), hidden)
    stats = stats_of(made)
    assert stats.kl_reverse is not None
    assert stats.kl_forward is not None
    (of_reverse,) = torch.autograd.grad(stats.kl_reverse.sum(), made.hidden, retain_graph=True)
    (of_forward,) = torch.autograd.grad(stats.kl_forward.sum(), made.hidden)
    assert relative(of_k2, of_reverse) <= 1e-4
    assert relative(of_k3, of_forward) <= 1e-4


@pytest.mark.parametrize("which", [0, 1, 2, 3])
@pytest.mark.parametrize("chunk_bytes", [None, 10_000])
def test_losses_of_one_statistic(which: int, chunk_bytes: int | None) -> None:
    made = example(19, 8, 300, ref_width=12)
    made.weight.data[:, 0] = 1.0  # adds the same number to all logits of a token
    upstream = torch.zeros(4, 19)
    upstream[which] = torch.randn(19)
    stats = stats_of(made, chunk_bytes=chunk_bytes)
    output = [stats.logprob, stats.entropy, stats.kl_reverse, stats.kl_forward][which]
    assert output is not None
    alone = torch.autograd.grad(output, (made.hidden, made.weight), upstream[which], retain_graph=True)
    with_zeros = gradients(stats, upstream, made.hidden, made.weight)
    expected = gradients(made.exact(), upstream, made.hidden, made.weight)
    for actual, same, wanted in zip(alone, with_zeros, expected, strict=True):
        assert relative(actual, wanted) <= 2e-5
        torch.testing.assert_close(actual, same, rtol=0, atol=0)
    assert alone[0][:, 0].abs().max() <= 1e-5 * alone[0].abs().max()  # gradients of the logits sum to zero


@pytest.mark.parametrize("offset", [-1e4, 1e4])
@pytest.mark.parametrize("chunk_bytes", [None, 8_000])
def test_a_common_offset_of_all_logits_changes_nothing(offset: float, chunk_bytes: int | None) -> None:
    def steps(*shape: int) -> torch.Tensor:
        return torch.randint(-8, 9, shape) / 4  # logits are exact in fp32

    hidden = torch.cat([steps(30, 4), torch.ones(30, 1)], 1).requires_grad_()
    weight = torch.cat([steps(130, 4), torch.full((130, 1), offset)], 1).requires_grad_()
    ref_weight = torch.cat([steps(130, 4), torch.full((130, 1), -offset)], 1)
    targets = torch.randint(0, 130, (30,))
    made = Example(hidden=hidden, weight=weight, targets=targets, ref_hidden=hidden.detach(), ref_weight=ref_weight)
    stats, truth = stats_of(made, chunk_bytes=chunk_bytes), made.exact()
    assert furthest(stats, truth) <= 2e-5
    upstream = torch.randn(4, 30)
    actual, expected = (gradients(each, upstream, hidden, weight) for each in (stats, truth))
    assert relative(actual[0][:, :4], expected[0][:, :4]) <= 2e-5
    assert relative(actual[1], expected[1]) <= 2e-5


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_a_rank_without_columns_changes_nothing(offset: float) -> None:
    """A shard of padding only; a maximum that started at 0 would swallow all mass of logits far below."""
    logits, ref_logits = torch.randn(7, 20) + offset, torch.randn(7, 20) - offset
    targets = torch.randint(0, 20, (7,))
    for reference in (None, ref_logits):
        some = tile_statistics(
            logits.clone(), targets, None, None, None if reference is None else reference.clone(), 20
        )
        nothing = empty_statistics(7, rows=len(some), dtype=torch.float32, device=logits.device)
        assert torch.equal(merge(nothing, some), some)
        assert torch.equal(merge(some, nothing), some)


@pytest.mark.parametrize("chunk_bytes", [None, 2_000])
def test_columns_without_mass_in_policy_and_reference(chunk_bytes: int | None) -> None:
    hidden = (torch.rand(12, 3) + 0.5).requires_grad_()
    weight, ref_weight = torch.randn(100, 3), torch.randn(100, 3)
    weight[20:90] = ref_weight[20:90] = -torch.inf
    weight.requires_grad_()
    targets = torch.randint(0, 20, (12,))
    made = Example(hidden=hidden, weight=weight, targets=targets, ref_hidden=hidden.detach(), ref_weight=ref_weight)
    kept = torch.cat([weight[:20], weight[90:]]).detach().requires_grad_()
    ref_kept = torch.cat([ref_weight[:20], ref_weight[90:]])
    truth = Example(
        hidden=hidden, weight=kept, targets=targets, ref_hidden=hidden.detach(), ref_weight=ref_kept
    ).exact()
    stats = stats_of(made, chunk_bytes=chunk_bytes)
    assert furthest(stats, truth) <= 1e-5
    (of_weight,) = gradients(stats, torch.ones(4, 12), weight)
    assert (of_weight[20:90] == 0).all()
    assert of_weight.isfinite().all()


def test_bfloat16_is_no_less_exact_than_bfloat16_into_fp32() -> None:
    """Error ≤ 2 × that of plain torch that multiplies the same bf16 inputs in fp32; gradients ≤ 2 × bf16 torch."""
    made = example(96, 64, 6007, ref_width=64, dtype=torch.bfloat16)
    stats, truth = stats_of(made, chunk_bytes=1 << 20), made.exact()
    singles = {
        k: v.detach().float() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in made.arguments.items()
    }
    plain = linear_token_stats(**singles, implementation="reference")
    assert furthest(stats, truth) <= 1e-4
    for actual, peer, expected in zip(stats, plain, truth, strict=True):
        assert actual is not None
        assert peer is not None
        assert expected is not None
        assert (actual - expected).abs().max() <= 2 * (peer - expected).abs().max() + 5e-6

    upstream = torch.randn(2, 96)
    logits = made.hidden @ made.weight.t()  # in bf16, gradients too
    log_p = torch.log_softmax(logits.float(), -1)
    peer = TokenStats(log_p.gather(1, made.targets[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1))
    found, rough, exact = (gradients(each, upstream, made.hidden, made.weight) for each in (stats, peer, truth))
    for actual, other, expected in zip(found, rough, exact, strict=True):
        assert relative(actual, expected) <= 2 * relative(other, expected)
        assert torch.cosine_similarity(actual.double().flatten(), expected.double().flatten(), 0) >= 0.9999


@pytest.mark.parametrize("implementation", ["chunked", "reference"])
def test_ignored_rows_are_zero_and_change_nothing(implementation: str) -> None:
    made = example(40, 16, 500, ref_width=8, temperature=True)
    ignored = torch.rand(40) < 0.5
    if implementation == "chunked":
        made.hidden.data[ignored] *= 1e30  # any arithmetic on them would show
    targets = made.targets.masked_fill(ignored, -100)
    upstream = torch.randn(4, 40)
    stats = stats_of(made, targets=targets, ignore_index=-100, implementation=implementation)
    for each in stats:
        assert each is not None
        assert (each[ignored] == 0).all()
    of_hidden, of_weight = gradients(stats, upstream, made.hidden, made.weight)
    assert (of_hidden[ignored] == 0).all()
    some = ~ignored
    assert isinstance(made.temperature, torch.Tensor)
    assert made.ref_hidden is not None
    rest = Example(
        hidden=made.hidden.detach()[some].requires_grad_(),
        weight=made.weight,
        targets=made.targets[some],
        temperature=made.temperature[some],
        ref_hidden=made.ref_hidden[some],
        ref_weight=made.ref_weight,
    )
    expected = gradients(rest.exact(), upstream[:, some], rest.hidden, rest.weight)
    assert relative(of_hidden[some], expected[0]) <= 2e-5
    assert relative(of_weight, expected[1]) <= 2e-5
    nothing = stats_of(made, targets=torch.full((40,), -100), ignore_index=-100)
    assert all(each is not None and (each == 0).all() for each in nothing)
    assert all((each == 0).all() for each in gradients(nothing, upstream, made.hidden, made.weight))
