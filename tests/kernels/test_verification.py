"""The check that a trainer makes before its first step: right implementations pass, wrong ones are passed over."""

import math

import pytest
import torch

from prorl_kernels.linear_token_stats import chunked, gradient
from prorl_kernels.linear_token_stats.verification import verified

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-5)])
def test_a_right_implementation_passes_with_its_errors(dtype: torch.dtype, error: float) -> None:
    state = torch.get_rng_state()
    found = verified(96, dtype, CPU, ("chunked",))
    assert found.implementation == "chunked"
    assert found.refused == {}
    assert 0 < found.error < error
    assert 0 < found.gradient_error < (1e-5 if dtype is torch.float32 else 4e-3)
    assert str(found).startswith("chunked, within ")
    assert torch.equal(torch.get_rng_state(), state)


def test_by_default_the_choice_is_the_operation_s_own() -> None:
    found = verified(96, torch.float32, CPU)
    assert found.implementation is None
    assert str(found).startswith("the default kernels, within ")


def test_one_that_cannot_run_is_passed_over_with_its_reason() -> None:
    found = verified(96, torch.bfloat16, CPU, ("fused", "chunked"))
    assert found.implementation == "chunked"
    assert "needs a GPU" in found.refused["fused"]
    assert "fused refused: ValueError" in str(found)


@pytest.mark.parametrize("value", [1.01, math.nan])
def test_wrong_statistics_are_noticed(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = chunked.statistics
    monkeypatch.setattr(chunked, "statistics", lambda *arguments: right(*arguments) * value)
    with pytest.raises(RuntimeError, match=r"computes right on cpu in torch\.float32: chunked: wrong results"):
        verified(96, torch.float32, CPU, ("chunked",))


def test_a_wrong_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradient.matmul_into

    def without_the_last_column(out: torch.Tensor, left: torch.Tensor, *rest: object, **options: object) -> None:
        cut = left.clone()
        cut[..., -1] = 0.0
        right(out, cut, *rest, **options)

    monkeypatch.setattr(gradient, "matmul_into", without_the_last_column)
    with pytest.raises(RuntimeError, match="gradients by"):
        verified(96, torch.float32, CPU, ("chunked",))
