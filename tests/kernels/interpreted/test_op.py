"""The whole operation on Triton's kernels: chunked with Triton's passes over tiles, fused, cached."""

from typing import Any

import pytest
import torch
from helpers.exact_token_stats import example, furthest, gradients, relative
from helpers.token_statistics import DEVICE

from prorl_kernels.linear_token_stats import cache, chunked, fixed_point, linear_token_stats
from prorl_kernels.linear_token_stats.triton import fixed_point as triton_fixed_point
from prorl_kernels.linear_token_stats.triton import tiles as triton_tiles
from prorl_kernels.linear_token_stats.verification import verified

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reference": {"ref_width": 16},
    "everything": {"ref_width": 24, "temperature": True, "softcap": 9.0},
}


@pytest.fixture
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the CPU take Triton's kernels too, interpreted."""
    monkeypatch.setattr(chunked, "tile_operations", lambda device, dtype: triton_tiles)
    monkeypatch.setattr(cache, "_codec", lambda tensor: triton_fixed_point)


def check(made: Any, tolerance: float, **options: Any) -> None:
    tokens = len(made.hidden)
    for name in ("hidden", "weight", "targets", "temperature", "ref_hidden", "ref_weight"):
        value = getattr(made, name)
        if isinstance(value, torch.Tensor):
            setattr(made, name, value.detach().to(DEVICE).requires_grad_(name in ("hidden", "weight")))
    upstream = torch.randn(2 if made.ref_hidden is None else 4, tokens, device=DEVICE)
    upstream[:, 1] = 0.0
    stats, truth = linear_token_stats(**made.arguments, **options), made.exact()
    assert furthest(stats, truth) <= 2e-5
    actual = gradients(stats, upstream, made.hidden, made.weight)
    expected = gradients(truth, upstream, made.hidden, made.weight)
    assert all(relative(a, e) <= tolerance for a, e in zip(actual, expected, strict=True))
    assert (actual[0][1] == 0).all()


@pytest.mark.usefixtures("on_triton")
@pytest.mark.parametrize("cache_bytes", [0, 40_000])
@pytest.mark.parametrize("variant", VARIANTS)
def test_chunked(variant: str, cache_bytes: int) -> None:
    made = example(9, 16, 1500, scale=2.0, **VARIANTS[variant])
    check(made, 2e-3 if cache_bytes else 2e-5, chunk_bytes=60_000, cache_bytes=cache_bytes, implementation="chunked")


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused(variant: str) -> None:
    made = example(9, 16, 300, scale=2.0, dtype=torch.bfloat16, **VARIANTS[variant])
    check(made, 6e-3, implementation="fused")


def test_fused_is_verified_before_a_run() -> None:
    found = verified(136, torch.bfloat16, torch.device(DEVICE), ("fused",))
    assert found.implementation == "fused"
    assert found.error < 1e-4


@pytest.mark.parametrize("chunk_bytes", [4_000, 1 << 20])
def test_fused_in_tiles_with_ignored_rows_and_padding(chunk_bytes: int) -> None:
    made = example(40, 16, 500, scale=2.0, dtype=torch.bfloat16, ref_width=16)
    made.targets %= 450
    targets = made.targets.clone()
    targets[::4] = -100
    upstream = torch.randn(4, 40)
    stats = linear_token_stats(
        **(made.arguments | {"targets": targets}),
        ignore_index=-100,
        valid_vocab=450,
        chunk_bytes=chunk_bytes,
        implementation="fused",
    )
    truth = made.exact(450)
    computed = targets >= 0
    for actual, expected in zip(stats, truth, strict=True):
        assert actual is not None
        assert expected is not None
        torch.testing.assert_close(actual, (expected * computed).float(), rtol=0, atol=2e-5)
    found = gradients(stats, upstream, made.hidden, made.weight)
    wanted = gradients(truth, upstream * computed, made.hidden, made.weight)
    assert all(relative(a, e) <= 6e-3 for a, e in zip(found, wanted, strict=True))
    assert (found[1][450:] == 0).all()


@pytest.mark.usefixtures("on_triton")
@pytest.mark.parametrize("softcap", [None, 9.0])
def test_fixed_point_numbers_equal_those_of_torch(softcap: float | None) -> None:
    logits, scale = torch.randn(5, 1500, device=DEVICE) * 20, torch.rand(5, device=DEVICE) + 0.5
    logits[1, 3], logits[2] = -torch.inf, 1e4
    results = []
    for codec in (fixed_point, triton_fixed_point):
        kept, row_max = torch.empty(5, 1500, dtype=torch.int16, device=DEVICE), torch.empty(5, device=DEVICE)
        codec.quantize(logits, scale, softcap, kept, row_max)
        results.append((kept, row_max, codec.dequantize(kept, row_max, scale, softcap)))
    (kept, row_max, decoded), (same, equal, alike) = results
    assert (kept.int() - same.int()).abs().max() <= 1
    torch.testing.assert_close(row_max, equal, rtol=1e-6, atol=1e-6)
    clear = kept == same
    if softcap is not None:  # at the cap itself a logit is only known to be large
        clear &= decoded.abs() < 4 * softcap
    torch.testing.assert_close(decoded[clear], alike[clear], rtol=1e-3, atol=1e-3)
