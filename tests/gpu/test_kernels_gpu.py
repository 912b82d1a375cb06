"""The kernels on a GPU: every implementation against fp64, bits, memory, what the host waits for, graphs."""

from __future__ import annotations

import pytest
import torch
from helpers.exact_token_stats import Example, example, gradients, relative
from torch import Tensor

from prorl_kernels.linear_token_stats import TokenStats, linear_token_stats
from prorl_kernels.linear_token_stats.stats import merge, results

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEVICE = "cuda"
IMPLEMENTATIONS = ["reference", "chunked", "fused"]
SHAPES = [  # tokens, width, vocabulary; with vocabularies that no tile divides
    (1, 64, 129),
    (15, 72, 1003),
    (129, 896, 32003),
    (700, 1536, 18992),
    (257, 4096, 151936),
    (4096, 64, 507),
]
MIB = 1 << 20


def new_example(
    tokens: int, width: int, vocab: int, *, ref_width: int | None = None, softcap: float | None = None
) -> Example:
    """Of bf16 tensors on the GPU; with temperatures."""
    torch.manual_seed(tokens + width)
    made = example(tokens, width, vocab, ref_width=ref_width, temperature=True, softcap=softcap, dtype=torch.bfloat16)
    for name in ("hidden", "weight", "targets", "temperature", "ref_hidden", "ref_weight"):
        tensor = getattr(made, name)
        if isinstance(tensor, Tensor):
            setattr(made, name, tensor.detach().to(DEVICE))
    made.hidden.requires_grad_()
    made.weight.requires_grad_()
    return made


def of_rounded_gradients(made: Example, upstream: Tensor) -> tuple[TokenStats, tuple[Tensor, ...]]:
    """torch with fp32 logits, whose gradient it rounds to bf16 before the products: what we must be as good as."""
    shapes = made.hidden @ made.weight.t()
    logits = torch.mm(made.hidden.detach(), made.weight.detach().t(), out_dtype=torch.float32).requires_grad_()
    log_p = torch.log_softmax(_scaled(made, logits), 1)
    logprob = log_p.gather(1, made.targets[:, None]).squeeze(1)
    stats = TokenStats(logprob, -(log_p.exp() * log_p).sum(1))
    (gradient,) = torch.autograd.grad((stats.logprob, stats.entropy), logits, tuple(upstream))
    return stats, torch.autograd.grad(shapes, (made.hidden, made.weight), gradient.to(shapes.dtype))


def _scaled(made: Example, logits: Tensor) -> Tensor:
    if made.softcap is not None:
        logits = made.softcap * torch.tanh(logits / made.softcap)
    return logits / torch.as_tensor(made.temperature).reshape(-1, 1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("tokens", "width", "vocab"), SHAPES)
def test_log_prob_and_entropy_match_fp64(tokens: int, width: int, vocab: int, implementation: str) -> None:
    made = new_example(tokens, width, vocab)
    upstream = torch.randn(2, tokens, device=DEVICE)
    stats = linear_token_stats(**made.arguments, implementation=implementation)
    truth, (plain, of_plain) = made.exact(), of_rounded_gradients(made, upstream)
    for actual, expected, other in zip(stats[:2], truth[:2], plain[:2], strict=True):
        assert float((actual - expected).abs().max()) <= max(1e-5, min(1e-4, 2 * float((other - expected).abs().max())))
    assert (stats.logprob <= 0).all()
    assert (stats.entropy >= 0).all()
    actual_gradients, expected_gradients = (
        gradients(each, upstream, made.hidden, made.weight) for each in (stats, truth)
    )
    for actual, expected, other in zip(actual_gradients, expected_gradients, of_plain, strict=True):
        assert relative(actual, expected) <= 2 * relative(other, expected) + 1e-6
        cosine = torch.nn.functional.cosine_similarity(actual.double().flatten(), expected.double().flatten(), dim=0)
        assert float(cosine) >= 0.9999


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("ref_width", [1536, 896])
@pytest.mark.parametrize("softcap", [None, 30.0])
def test_exact_kl_matches_fp64(ref_width: int, softcap: float | None, implementation: str) -> None:
    made = new_example(200, 1536, 32003, ref_width=ref_width, softcap=softcap)
    upstream = torch.randn(4, 200, device=DEVICE)
    stats, truth = linear_token_stats(**made.arguments, implementation=implementation), made.exact()
    for actual, expected in zip(stats, truth, strict=True):
        assert actual is not None
        assert expected is not None
        tolerance = 1e-4 if ref_width != 1536 else 2e-5  # far from the reference the divergences are near 20
        assert float((actual - expected).abs().max()) <= tolerance
    actual_gradients, expected_gradients = (
        gradients(each, upstream, made.hidden, made.weight) for each in (stats, truth)
    )
    for of_stats, of_truth in zip(actual_gradients, expected_gradients, strict=True):
        assert relative(of_stats, of_truth) <= 6e-3


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_of_a_policy_that_is_its_reference_the_divergence_is_zero(implementation: str) -> None:
    made = new_example(300, 1536, 151936)
    stats = linear_token_stats(
        **(made.arguments | {"ref_hidden": made.hidden, "ref_weight": made.weight}), implementation=implementation
    )
    assert stats.kl_reverse is not None
    assert stats.kl_forward is not None
    assert float(torch.maximum(stats.kl_reverse, stats.kl_forward).abs().max()) <= 5e-6


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
@pytest.mark.parametrize("offset", [-1e4, -120.0, 1e4])
def test_a_common_offset_of_all_logits_changes_nothing(offset: float, implementation: str) -> None:
    """By a column of ones. All 512 sums then round at the size of the offset; a wrong maximum is off by far."""
    made = new_example(64, 512, 5003)
    hidden, weight = made.hidden.detach().clone(), made.weight.detach().clone()
    hidden[:, 0], weight[:, 0] = offset, 1.0
    stats = linear_token_stats(hidden, weight, made.targets, implementation=implementation)
    truth = Example(
        hidden=hidden, weight=weight, targets=made.targets, temperature=torch.ones(64, device=DEVICE)
    ).exact()
    assert float((stats.logprob - truth.logprob).abs().max()) <= 1e-4 + 5e-6 * abs(offset)


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("ref_width", [None, 256])
def test_shards_of_the_vocabulary_merge_to_the_whole(ranks: int, ref_width: int | None) -> None:
    """Tensor parallelism on one GPU: every rank's statistics, and the merge in rank order that follows the gather."""
    from prorl_kernels.linear_token_stats.problem import Projection
    from prorl_kernels.linear_token_stats.triton.fused import fused_statistics

    made = new_example(333, 256, 18992, ref_width=ref_width)
    inverse = torch.as_tensor(made.temperature).float().reciprocal()
    whole = linear_token_stats(**made.arguments, implementation="fused")
    cuts = [round(made.weight.shape[0] * rank / ranks) // 8 * 8 + 3 * (0 < rank < ranks) for rank in range(ranks)]
    parts = []
    for start, stop in zip(cuts, [*cuts[1:], len(made.weight)], strict=True):
        reference = None if made.ref_weight is None else made.ref_weight[start:stop]
        shard = Projection(
            hidden=made.hidden.detach(),
            weight=made.weight.detach()[start:stop],
            targets=made.targets - start,
            inverse_temperature=inverse,
            ref_hidden=made.ref_hidden,
            ref_weight=reference,
        )
        parts.append(fused_statistics(shard))
    total, *others = parts
    for part in others:
        total = merge(total, part)
    for actual, expected in zip(results(total), whole, strict=True):
        assert (actual is None) == (expected is None)
        if actual is not None and expected is not None:
            assert float((actual - expected).abs().max()) <= 2e-5


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_gradients_of_two_batches_add_up_in_main_grad(implementation: str) -> None:
    made = new_example(512, 256, 5003)
    weight = torch.nn.Parameter(made.weight.detach().clone())
    weight.main_grad = torch.zeros_like(weight, dtype=torch.float32)
    weight.grad_added_to_main_grad = False
    temperature = torch.as_tensor(made.temperature)
    for half in (slice(0, 256), slice(256, 512)):
        stats = linear_token_stats(
            made.hidden[half],
            weight,
            made.targets[half],
            temperature[half],
            accumulate_main_grad=True,
            implementation=implementation,
        )
        stats.logprob.sum().backward()
    assert weight.grad_added_to_main_grad
    expected = torch.autograd.grad(made.exact().logprob.sum(), made.weight)[0]
    assert relative(weight.main_grad, expected) <= 4e-3


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_the_same_call_gives_the_same_bits(implementation: str) -> None:
    made = new_example(1000, 896, 32003)
    upstream = torch.randn(2, 1000, device=DEVICE)

    def everything() -> list[Tensor]:
        stats = linear_token_stats(**made.arguments, implementation=implementation)
        return [stats.logprob, stats.entropy, *gradients(stats, upstream, made.hidden, made.weight)]

    assert all(torch.equal(first, second) for first, second in zip(everything(), everything(), strict=True))


def test_a_token_has_the_same_bits_in_any_batch() -> None:
    made = new_example(700, 1536, 18992)
    temperature = torch.as_tensor(made.temperature)

    def of(rows: slice) -> TokenStats:
        return linear_token_stats(
            made.hidden[rows], made.weight, made.targets[rows], temperature[rows], implementation="fused"
        )

    whole, some = of(slice(None)), of(slice(640, 643))
    assert torch.equal(whole.logprob[640:643], some.logprob)
    assert torch.equal(whole.entropy[640:643], some.entropy)


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_more_logits_than_32_bits_can_count(implementation: str) -> None:
    """2.5 · 10⁹ logits: the last rows are what they are alone, and so are their gradients."""
    made = new_example(16500, 64, 152063)
    temperature = torch.as_tensor(made.temperature)
    last = slice(16400, 16500)
    upstream = torch.zeros(2, 16500, device=DEVICE)
    upstream[:, last] = torch.randn(2, 100, device=DEVICE)
    stats = linear_token_stats(**made.arguments, implementation=implementation)
    whole = [*stats[:2], *gradients(stats, upstream, made.hidden, made.weight)]
    alone = linear_token_stats(
        made.hidden[last], made.weight, made.targets[last], temperature[last], implementation=implementation
    )
    part = [*alone[:2], *gradients(alone, upstream[:, last], made.hidden, made.weight)]
    assert (whole[0][last] - part[0]).abs().max() <= 2e-5
    assert (whole[1][last] - part[1]).abs().max() <= 2e-5
    assert all(relative(actual, expected) <= 4e-3 for actual, expected in zip(whole[2:], part[2:], strict=True))


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_rows_without_upstream_gradient_get_exact_zeros(implementation: str) -> None:
    made = new_example(256, 512, 9001)
    with torch.no_grad():
        made.hidden[::2] *= 1e30
    upstream = torch.randn(2, 256, device=DEVICE)
    upstream[:, ::2] = 0
    stats = linear_token_stats(**made.arguments, implementation=implementation)
    of_hidden, of_weight = gradients(stats, upstream, made.hidden, made.weight)
    assert (of_hidden[::2] == 0).all()
    assert bool(of_weight.isfinite().all())


@pytest.mark.parametrize("share", [1.1, 0.4])
def test_kept_logits_give_nearly_the_same_gradients(share: float) -> None:
    made = new_example(512, 512, 32003)
    upstream = torch.randn(2, 512, device=DEVICE)
    budget = int(share * 2 * 512 * 32003)
    stats = linear_token_stats(**made.arguments, implementation="chunked", cache_bytes=budget)
    truth = made.exact()
    pairs = zip(*(gradients(each, upstream, made.hidden, made.weight) for each in (stats, truth)), strict=True)
    assert all(relative(actual, expected) <= 6e-3 for actual, expected in pairs)


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_the_forward_pass_never_makes_the_host_wait(implementation: str) -> None:
    made = new_example(512, 512, 9001, ref_width=512)

    def call() -> None:
        linear_token_stats(**made.arguments, implementation=implementation)

    call()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
        with torch.no_grad():
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("implementation", ["chunked", "fused"])
def test_the_forward_pass_can_be_captured_in_a_graph(implementation: str) -> None:
    made, other = new_example(256, 512, 9001), new_example(256, 512, 9001)
    with torch.no_grad():
        other.hidden.mul_(0.5)
        linear_token_stats(**made.arguments, implementation=implementation)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = linear_token_stats(**made.arguments, implementation=implementation)
        for name in ("hidden", "weight", "targets"):
            getattr(made, name).copy_(getattr(other, name))
        torch.as_tensor(made.temperature).copy_(torch.as_tensor(other.temperature))
        graph.replay()
        expected = linear_token_stats(**made.arguments, implementation=implementation)
    assert torch.equal(captured.logprob, expected.logprob)
    assert torch.equal(captured.entropy, expected.entropy)


def test_no_logits_in_memory() -> None:
    """Of logits that would take 1,187 MiB: forward keeps statistics, backward one tile of their gradient."""
    made = new_example(4096, 256, 151936)

    def peak(train: bool) -> float:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with torch.set_grad_enabled(train):
            stats = linear_token_stats(**made.arguments, implementation="fused")
            if train:
                gradients(stats, torch.ones(2, 4096, device=DEVICE), made.hidden, made.weight)
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB

    peak(True)
    assert peak(False) <= 32
    weight_gradient = made.weight.numel() * 2 / MIB
    assert peak(True) <= 256 + 2 * weight_gradient + 64
