"""tile_statistics and tile_gradient against fp64, at odd sizes and extreme logits; bits; poisoned outputs."""

import pytest
import torch
from helpers.token_statistics import DEVICE, Case, finished, scalars

from prorl_kernels.linear_token_stats.stats import merge
from prorl_kernels.linear_token_stats.triton.tiles import tile_gradient, tile_statistics

SHAPES = [(1, 1, 1), (2, 2, 1), (3, 507, 507), (5, 507, 500), (3, 2048, 2048), (4, 5000, 4999), (2, 4097, 4097)]


def case(
    rows: int, cols: int, valid: int, *, reference: bool, temperature: bool = False, softcap: float | None = None
) -> Case:
    logits = (torch.randn(rows, cols, device=DEVICE) * 4).double()
    return Case(
        logits=logits,
        targets=torch.randint(0, valid, (rows,), device=DEVICE),
        inverse_temperature=torch.rand(rows, device=DEVICE) + 0.5 if temperature else None,
        softcap=softcap,
        ref_logits=(logits + torch.randn_like(logits)).float().double() if reference else None,
        valid_cols=valid,
    )


def statistics(problem: Case) -> torch.Tensor:
    ref_logits = None if problem.ref_logits is None else problem.ref_logits.float()
    return tile_statistics(
        problem.logits.float(),
        problem.targets,
        problem.inverse_temperature,
        problem.softcap,
        ref_logits,
        problem.valid_cols,
    )


def gradient(problem: Case, upstream: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    ref_logits = None if problem.ref_logits is None else problem.ref_logits.float()
    return tile_gradient(
        problem.logits.float(),
        problem.targets,
        problem.inverse_temperature,
        problem.softcap,
        ref_logits,
        problem.valid_cols,
        scalars(statistics(problem), upstream),
        out,
    )


def poisoned(problem: Case, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full(problem.logits.shape, torch.nan, dtype=dtype, device=DEVICE)


def random_upstream(problem: Case) -> torch.Tensor:
    return torch.randn(4, len(problem.logits), device=DEVICE)


@pytest.mark.parametrize(("rows", "cols", "valid"), SHAPES)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("temperature", "softcap"), [(False, None), (True, None), (True, 10.0)])
def test_against_the_definition(
    rows: int, cols: int, valid: int, reference: bool, temperature: bool, softcap: float | None
) -> None:
    problem = case(rows, cols, valid, reference=reference, temperature=temperature, softcap=softcap)
    torch.testing.assert_close(
        finished(statistics(problem)), problem.expected(problem.logits), rtol=1e-6, atol=4e-6, check_dtype=False
    )
    upstream = random_upstream(problem)
    out = gradient(problem, upstream, poisoned(problem))
    torch.testing.assert_close(out.double(), problem.expected_gradient(upstream), rtol=1e-5, atol=4e-6)
    assert (out[:, valid:] == 0).all()
    if softcap is None:
        assert out.double().sum(1).abs().max() < 2e-5


@pytest.mark.parametrize("which", range(4))
def test_each_upstream_gradient_alone(which: int) -> None:
    problem = case(3, 700, 650, reference=True)
    upstream = torch.zeros(4, 3, device=DEVICE)
    upstream[which] = torch.tensor([1.0, -2.0, 0.0])
    out = gradient(problem, upstream, poisoned(problem))
    torch.testing.assert_close(out.double(), problem.expected_gradient(upstream), rtol=1e-5, atol=2e-6)
    assert (out[2] == 0).all()


@pytest.mark.parametrize("offset", [-1e4, -120.0, 1e4])
@pytest.mark.parametrize("reference", [False, True])
def test_a_common_offset_changes_nothing(offset: float, reference: bool) -> None:
    problem = case(3, 2100, 2000, reference=reference)
    problem.logits = (problem.logits * 64).round() / 64 + offset  # exact in fp32
    problem.logits[0] = offset
    problem.logits[1, 7] += 50
    problem.logits[2, 3:5] += 50  # a log-sum of log 2, which an offset of 10⁴ would round away
    if problem.ref_logits is not None:
        problem.ref_logits = (problem.ref_logits * 64).round() / 64 - offset
    actual = finished(statistics(problem))
    torch.testing.assert_close(actual, problem.expected(problem.logits), rtol=1e-6, atol=8e-6)
    assert actual[0].max() <= 0
    assert actual[1].min() >= -1e-6
    upstream = random_upstream(problem)
    out = gradient(problem, upstream, poisoned(problem))
    torch.testing.assert_close(out.double(), problem.expected_gradient(upstream), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("reference", [False, True])
def test_columns_of_minus_infinity_have_no_mass_and_no_gradient(reference: bool) -> None:
    problem = case(3, 2500, 2500, reference=reference)
    masked = torch.rand(2500, device=DEVICE) < 0.5
    masked[:2048] |= torch.arange(2048, device=DEVICE) % 128 == 5  # whole lanes of the first blocks
    masked[problem.targets] = False
    problem.logits[:, masked] = -torch.inf
    if problem.ref_logits is not None:
        problem.ref_logits[:, masked] = -torch.inf
    actual = statistics(problem)
    assert actual.isfinite().all()
    kept = Case(
        logits=problem.logits[:, ~masked],
        targets=(~masked).cumsum(0)[problem.targets] - 1,
        ref_logits=None if problem.ref_logits is None else problem.ref_logits[:, ~masked],
        valid_cols=int((~masked).sum()),
    )
    torch.testing.assert_close(finished(actual), kept.expected(kept.logits), rtol=1e-6, atol=4e-6)
    upstream = random_upstream(problem)
    out = gradient(problem, upstream, poisoned(problem))
    assert (out[:, masked] == 0).all()
    torch.testing.assert_close(out[:, ~masked].double(), kept.expected_gradient(upstream), rtol=1e-5, atol=4e-6)


def test_without_columns_the_statistics_are_neutral() -> None:
    problem = case(3, 300, 300, reference=True)
    whole = statistics(problem)
    problem.valid_cols = 0
    empty = statistics(problem)
    assert torch.equal(merge(empty, whole), whole)
    problem.logits = problem.logits[:0]
    problem.ref_logits = None
    problem.targets = problem.targets[:0]
    assert statistics(problem).shape == (4, 0)


@pytest.mark.parametrize("reference", [False, True])
def test_statistics_of_parts_merge_to_the_whole(reference: bool) -> None:
    problem = case(4, 1000, 990, reference=reference, temperature=True)
    problem.logits[:, :700] -= 200  # the first part has next to no mass
    logits = problem.logits.float()
    ref_logits = None if problem.ref_logits is None else problem.ref_logits.float()
    parts = [
        tile_statistics(
            logits[:, start:stop],
            problem.targets - start,
            problem.inverse_temperature,
            None,
            None if ref_logits is None else ref_logits[:, start:stop],
            valid,
        )
        for start, stop, valid in ((0, 700, 700), (700, 1000, 290))
    ]
    torch.testing.assert_close(
        finished(merge(*parts)), problem.expected(problem.logits), rtol=1e-6, atol=4e-6, check_dtype=False
    )


def test_a_target_elsewhere_has_no_score_and_no_gradient() -> None:
    problem = case(3, 300, 290, reference=True)
    problem.targets = torch.tensor([-1, 290, 10_000], device=DEVICE)
    assert (statistics(problem)[[3, 6]] == -torch.inf).all()
    upstream = torch.tensor([[1.0], [0.0], [0.0], [0.0]], device=DEVICE).expand(4, 3)
    out = gradient(problem, upstream, poisoned(problem))
    log_p = problem.log_probabilities(problem.logits)
    torch.testing.assert_close(out[:, :290].double(), -log_p.exp(), rtol=1e-5, atol=1e-7)


def test_not_a_number_is_not_hidden() -> None:
    problem = case(2, 3000, 3000, reference=True)
    problem.logits[0, 2900] = torch.nan
    results = finished(statistics(problem))
    assert results[0, 0].isnan()
    assert results[1, 0].isnan()
    assert results[:, 1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes_strides_and_writing_in_place(dtype: torch.dtype) -> None:
    problem = case(3, 600, 590, reference=True)
    wide = torch.full((3, 650), torch.nan, device=DEVICE)
    wide[:, :600] = problem.logits
    upstream = random_upstream(problem)
    expected = problem.expected_gradient(upstream)
    out = gradient(problem, upstream, poisoned(problem, dtype))
    torch.testing.assert_close(out.double(), expected, rtol=torch.finfo(dtype).eps, atol=4e-6)
    assert problem.ref_logits is not None
    view = wide[:, :600]
    same = tile_gradient(
        view,
        problem.targets.int(),
        None,
        None,
        problem.ref_logits.float(),
        590,
        scalars(statistics(problem), upstream),
        view,
    )
    assert same.data_ptr() == wide.data_ptr()
    assert wide[:, 600:].isnan().all()
    torch.testing.assert_close(same.to(dtype), out, rtol=torch.finfo(dtype).eps, atol=0.0)
    logits = problem.logits.to(dtype)
    problem.logits = logits.double()
    actual = tile_statistics(logits, problem.targets, None, None, problem.ref_logits.float(), 590)
    torch.testing.assert_close(finished(actual), problem.expected(problem.logits), rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("reference", [False, True])
def test_bits_do_not_depend_on_the_batch_or_the_run(reference: bool) -> None:
    problem = case(9, 3001, 2999, reference=reference, temperature=True, softcap=15.0)
    upstream = random_upstream(problem)
    whole, out = statistics(problem), gradient(problem, upstream, poisoned(problem))
    assert torch.equal(whole, statistics(problem))
    assert torch.equal(out, gradient(problem, upstream, poisoned(problem)))
    assert problem.inverse_temperature is not None
    for row in (0, 5, 8):
        alone = Case(
            logits=problem.logits[row : row + 1],
            targets=problem.targets[row : row + 1],
            inverse_temperature=problem.inverse_temperature[row : row + 1],
            softcap=problem.softcap,
            ref_logits=None if problem.ref_logits is None else problem.ref_logits[row : row + 1],
            valid_cols=problem.valid_cols,
        )
        assert torch.equal(statistics(alone), whole[:, row : row + 1])
        assert torch.equal(gradient(alone, upstream[:, row : row + 1], poisoned(alone)), out[row : row + 1])
