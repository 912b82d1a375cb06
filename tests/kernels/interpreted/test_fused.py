"""fused_statistics and fused_logits_gradient against fp64 on the same 16-bit inputs; bits; shards; refusals."""

import dataclasses
import functools

import pytest
import torch
from helpers.token_statistics import DEVICE, Case, finished, scalars

from prorl_kernels.linear_token_stats.problem import Projection
from prorl_kernels.linear_token_stats.stats import merge
from prorl_kernels.linear_token_stats.triton import fused
from prorl_kernels.linear_token_stats.triton.fused import (
    POLICY_TILE,
    fused_logits_gradient,
    fused_statistics,
    statistics_workspace_bytes,
)


@dataclasses.dataclass(kw_only=True, slots=True)
class Problem:
    hidden: torch.Tensor
    weight: torch.Tensor
    case: Case
    ref_hidden: torch.Tensor | None = None
    ref_weight: torch.Tensor | None = None

    def statistics(self, rows: slice = slice(None)) -> torch.Tensor:
        return fused_statistics(self.of_rows(rows))

    def gradient(
        self, upstream: torch.Tensor, first_col: int, out: torch.Tensor, rows: slice = slice(None)
    ) -> torch.Tensor:
        row_scalars = scalars(self.statistics(), upstream)[:, rows].contiguous()
        return fused_logits_gradient(self.of_rows(rows), row_scalars, first_col, out)

    def of_rows(self, rows: slice) -> Projection:
        """The arguments, without padding columns."""
        case = self.case
        return Projection(
            hidden=self.hidden,
            weight=self.weight[: case.valid_cols],
            targets=case.targets,
            inverse_temperature=case.inverse_temperature,
            softcap=case.softcap,
            ref_hidden=self.ref_hidden,
            ref_weight=None if self.ref_weight is None else self.ref_weight[: case.valid_cols],
        ).of_rows(lambda tensor: tensor[rows])


def make(
    tokens: int,
    width: int,
    vocab: int,
    valid: int,
    *,
    ref_width: int | None = None,
    temperature: bool = False,
    softcap: float | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Problem:
    hidden = torch.randn(tokens, width, device=DEVICE).to(dtype)
    weight = (torch.randn(vocab, width, device=DEVICE) * 4 / width**0.5).to(dtype)
    weight[valid:] = torch.nan  # padding rows must not be read
    ref_hidden = ref_weight = None
    if ref_width is not None:
        ref_hidden = hidden.clone() if ref_width == width else torch.randn(tokens, ref_width, device=DEVICE).to(dtype)
        noise = torch.randn(vocab, ref_width, device=DEVICE) / ref_width**0.5
        ref_weight = (weight.float() + noise if ref_width == width else 4 * noise).to(dtype)
    return Problem(
        hidden=hidden,
        weight=weight,
        ref_hidden=ref_hidden,
        ref_weight=ref_weight,
        case=Case(
            logits=hidden.double() @ weight.double().T,
            targets=torch.randint(0, valid, (tokens,), device=DEVICE),
            inverse_temperature=torch.rand(tokens, device=DEVICE) + 0.5 if temperature else None,
            softcap=softcap,
            ref_logits=None
            if ref_hidden is None or ref_weight is None
            else ref_hidden.double() @ ref_weight.double().T,
            valid_cols=valid,
        ),
    )


@pytest.mark.parametrize(
    ("tokens", "width", "vocab", "valid", "options"),
    [
        (1, 8, 1, 1, {}),
        (1, 8, 2, 1, {"ref_width": 8}),
        (3, 64, 507, 500, {"dtype": torch.float16}),
        (130, 72, 600, 513, {"temperature": True}),
        (3, 136, 1900, 1793, {"softcap": 8.0, "temperature": True}),
        (130, 64, 300, 257, {"ref_width": 64, "temperature": True}),
        (2, 40, 1100, 1025, {"ref_width": 136, "softcap": 8.0}),
        (2, 200, 900, 900, {"ref_width": 72, "dtype": torch.float16, "temperature": True}),
        (2, 16, 18_992, 18_992, {}),
        (129, 456, 300, 290, {}),  # more steps of the product than stages
        (3, 328, 200, 200, {"ref_width": 456}),
    ],
)
def test_against_the_definition(tokens: int, width: int, vocab: int, valid: int, options: dict) -> None:
    problem = make(tokens, width, vocab, valid, **options)
    actual = finished(problem.statistics())
    expected = problem.case.expected(problem.case.logits)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=5e-6)
    assert actual[0].max() <= 0
    upstream = torch.randn(4, tokens, device=DEVICE)
    gradient = problem.case.expected_gradient(upstream)
    gradient[:, valid:] = 0  # fp64 has NaN there, of the padding rows
    step = max(8, (vocab // 2 + 7) // 8 * 8)
    for first_col in range(0, vocab, step):
        cols = min(step, vocab - first_col)
        out = torch.full((tokens, cols), torch.nan, device=DEVICE)
        assert problem.gradient(upstream, first_col, out) is out
        torch.testing.assert_close(out.double(), gradient[:, first_col : first_col + cols], rtol=2e-5, atol=5e-6)


def test_gradient_in_16_bits_fills_its_rows_and_nothing_else() -> None:
    problem = make(5, 64, 700, 650, ref_width=64)
    upstream = torch.randn(4, 5, device=DEVICE)
    wide = torch.full((5, 720), torch.nan, dtype=torch.bfloat16, device=DEVICE)
    problem.gradient(upstream, 0, wide[:, :700])
    assert wide[:, 700:].isnan().all()
    assert (wide[:, 650:700] == 0).all()
    expected = problem.case.expected_gradient(upstream)[:, :650]
    torch.testing.assert_close(wide[:, :650].double(), expected, rtol=1e-2, atol=5e-6)
    beyond = torch.full((5, 16), torch.nan, device=DEVICE)
    assert (problem.gradient(upstream, 656, beyond) == 0).all()


@pytest.mark.parametrize("offset", [-1e4, -120.0, 1e4])
@pytest.mark.parametrize("reference", [False, True])
def test_a_common_offset_changes_nothing(offset: float, reference: bool) -> None:
    problem = make(3, 16, 600, 590, ref_width=16 if reference else None)
    problem.hidden = torch.randint(-8, 9, (3, 16), device=DEVICE).to(torch.bfloat16)
    problem.weight = (torch.randint(-8, 9, (600, 16), device=DEVICE) / 32).to(torch.bfloat16)
    problem.hidden[:, 0], problem.weight[:, 0] = offset / 8, 8.0
    if reference:
        problem.ref_hidden, problem.ref_weight = problem.hidden, problem.weight.flip(0)
        problem.case.ref_logits = problem.ref_hidden.double() @ problem.ref_weight.double().T
    problem.weight[590:] = torch.nan
    problem.case.logits = problem.hidden.double() @ problem.weight.double().T
    if problem.ref_weight is not None:
        problem.ref_weight[590:] = torch.nan
    actual = finished(problem.statistics())
    torch.testing.assert_close(actual, problem.case.expected(problem.case.logits), rtol=1e-6, atol=8e-6)
    upstream = torch.randn(4, 3, device=DEVICE)
    out = problem.gradient(upstream, 0, torch.full((3, 590), torch.nan, device=DEVICE))
    torch.testing.assert_close(out.double(), problem.case.expected_gradient(upstream)[:, :590], rtol=1e-4, atol=1e-5)


def test_kl_to_itself_is_zero() -> None:
    problem = make(4, 64, 700, 700, ref_width=64)
    problem.ref_weight = problem.weight.clone()
    results = finished(problem.statistics())
    assert results[3:].abs().max() < 1e-6
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("reference", [False, True])
def test_bits_do_not_depend_on_the_batch_the_programs_or_the_run(
    reference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make(140, 24, 600, 590, ref_width=24 if reference else None, temperature=True)
    # Multiples of 1/4 make exact products: numpy's, under the interpreter, sum in an order that depends on the row.
    problem.hidden, problem.weight = (problem.hidden * 4).round() / 4, (problem.weight * 4).round() / 4
    if problem.ref_hidden is not None and problem.ref_weight is not None:
        problem.ref_hidden, problem.ref_weight = problem.hidden, (problem.ref_weight * 4).round() / 4
    upstream = torch.randn(4, 140, device=DEVICE)

    def gradient(rows: slice) -> torch.Tensor:
        out = torch.full((len(problem.hidden[rows]), 300), torch.nan, device=DEVICE)
        return problem.gradient(upstream, 256, out, rows)

    everything = slice(0, 140)
    statistics, out = problem.statistics(), gradient(everything)
    monkeypatch.setattr(fused, "_programs", lambda tensor: 1)
    assert torch.equal(problem.statistics(), statistics)
    monkeypatch.setattr(fused, "_programs", lambda tensor: 1000)
    assert torch.equal(problem.statistics(), statistics)
    assert torch.equal(gradient(everything), out)
    for rows in (slice(0, 1), slice(129, 130), slice(9, 139)):
        assert torch.equal(problem.statistics(rows), statistics[:, rows])
        assert torch.equal(gradient(rows), out[rows])


@pytest.mark.parametrize("numbers", [4, 9])
def test_more_segments_than_are_merged_at_once(numbers: int) -> None:
    segments, tokens = 150, 37
    partials = torch.rand(segments, numbers, tokens, device=DEVICE) + 0.1
    partials[:, [0, 4][: numbers // 4]] += 20 * torch.randn(segments, numbers // 4, tokens, device=DEVICE)
    partials[:, [3, 6][: numbers // 4]] = -torch.inf
    partials[77, [3, 6][: numbers // 4]] = 0.5
    statistics = torch.full((numbers, tokens), torch.nan, device=DEVICE)
    fused._merge(partials, statistics)
    merged = functools.reduce(merge, partials.double())
    torch.testing.assert_close(finished(statistics), finished(merged), rtol=1e-5, atol=1e-5)


def test_shards_merge_to_the_whole() -> None:
    problem = make(3, 64, 1000, 1000, ref_width=64)
    merged = None
    for start, stop, valid in ((0, 300, 300), (300, 1000, 700), (1000, 1000, 0)):
        shard = dataclasses.replace(
            problem,
            weight=problem.weight[start:stop],
            ref_weight=None if problem.ref_weight is None else problem.ref_weight[start:stop],
            case=dataclasses.replace(problem.case, targets=problem.case.targets - start, valid_cols=valid),
        ).statistics()
        merged = shard if merged is None else merge(merged, shard)
    assert merged is not None
    torch.testing.assert_close(finished(merged), problem.case.expected(problem.case.logits), rtol=1e-6, atol=5e-6)


def test_strided_inputs() -> None:
    problem = make(5, 64, 300, 300)
    expected = problem.statistics()
    problem.hidden = problem.hidden.T.contiguous().T
    problem.weight = torch.cat([problem.weight[:, :1], problem.weight], 1)[:, 1:]  # rows begin at odd addresses
    assert torch.equal(problem.statistics(), expected)


def test_not_a_number_stays_in_its_row() -> None:
    problem = make(130, 64, 600, 600)
    problem.hidden[129, 3] = torch.nan
    results = finished(problem.statistics())
    assert results[:, 129].isnan().all()
    assert results[:, :129].isfinite().all()


def test_no_tokens() -> None:
    problem = make(3, 64, 300, 300)
    assert problem.statistics(slice(0, 0)).shape == (4, 0)
    none = slice(0, 0)
    assert problem.gradient(torch.zeros(4, 3, device=DEVICE), 0, torch.empty(0, 8, device=DEVICE), none).shape == (0, 8)


@pytest.mark.parametrize("vocab", [1, 255, 257, 507, 18_992, 37_984, 128_256, 151_936, 152_064, 201_088, 248_320])
def test_segments_cover_the_vocabulary_without_an_empty_one(vocab: int) -> None:
    tiles = -(-vocab // POLICY_TILE.columns)
    size = fused._segment_tiles(tiles)
    assert 1 <= size <= 6
    segments = -(-tiles // size)
    assert (segments - 1) * size < tiles <= segments * size
    assert segments * size - tiles <= max(2, tiles // 50)
    assert statistics_workspace_bytes(8192, vocab, has_reference=False) == segments * 4 * 4 * 8192


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(2, 64)}, "bfloat16"),
        ({"weight": torch.zeros(9, 64, dtype=torch.float16)}, "torch.bfloat16 and torch.float16"),
        (
            {
                "hidden": torch.zeros(2, 60, dtype=torch.bfloat16),
                "weight": torch.zeros(9, 60, dtype=torch.bfloat16),
            },
            "multiple of 8",
        ),
    ],
)
def test_refusals_name_the_reason(change: dict[str, torch.Tensor], message: str) -> None:
    problem = dataclasses.replace(make(2, 64, 9, 9), **{name: t.to(DEVICE) for name, t in change.items()})
    with pytest.raises(ValueError, match=message):
        problem.statistics()
