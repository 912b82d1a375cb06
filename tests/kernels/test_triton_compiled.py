"""Every Triton kernel compiles for compute capability 9.0 and fits: registers, spills, shared memory, wgmma.

No GPU is needed. The arguments are those that the host functions pass, noted instead of launched. Spills are bytes
stored and loaded per thread and tile.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import triton
from helpers.ahead_of_time import Compiled, Launches, compiled

from prorl_kernels.linear_token_stats.problem import Projection
from prorl_kernels.linear_token_stats.triton import fixed_point, fused, tiles

SHARED_BYTES = 227 * 1024  # of a multiprocessor, for one program
TOKENS, WIDTH, VOCAB = 8192, 1536, 151_936
PLAIN: dict[str, Any] = {"reference": False, "temperature": False, "softcap": None}
CAPPED: dict[str, Any] = {"reference": False, "temperature": True, "softcap": 30.0}
PAIR: dict[str, Any] = {"reference": True, "temperature": True, "softcap": None}
EVERYTHING: dict[str, Any] = {"reference": True, "temperature": True, "softcap": 30.0}


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if triton.knobs.runtime.interpret:
        pytest.skip("the interpreter has replaced the compiler in this process")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(fused, "why_not_fused", lambda *tensors: None)
    monkeypatch.setattr(fused, "_tma_compatible", lambda matrix: matrix)
    monkeypatch.setattr(fused, "_programs", lambda tensor: 132)


def launched(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, call: Any) -> tuple[Any, dict[str, Any]]:
    """The kernel that a host function launches, with its arguments."""
    launches = Launches(getattr(module, name))
    monkeypatch.setattr(module, name, launches)
    call()
    assert len(launches.arguments) == 1
    return launches.kernel, launches.arguments[0]


class Fake(torch.Tensor):
    """Shape, strides and dtype of a tensor without its memory."""

    def data_ptr(self) -> int:
        return 0


def fake(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta").as_subclass(Fake)


def fused_problem(reference: bool, temperature: bool, softcap: float | None) -> Projection:
    return Projection(
        hidden=fake(TOKENS, WIDTH),
        weight=fake(VOCAB, WIDTH),
        targets=fake(TOKENS, dtype=torch.int64),
        inverse_temperature=fake(TOKENS, dtype=torch.float32) if temperature else None,
        softcap=softcap,
        ref_hidden=fake(TOKENS, WIDTH) if reference else None,
        ref_weight=fake(VOCAB, WIDTH) if reference else None,
    )


def tile_arguments(cols: int, reference: bool, temperature: bool, softcap: float | None) -> tuple[Any, ...]:
    return (
        fake(TOKENS, cols, dtype=torch.float32),
        fake(TOKENS, dtype=torch.int64),
        fake(TOKENS, dtype=torch.float32) if temperature else None,
        softcap,
        fake(TOKENS, cols, dtype=torch.float32) if reference else None,
        cols,
    )


def fits(result: Compiled, *, spilled_bytes: int, fused: bool) -> None:
    print(result.registers, result.spilled_bytes, result.shared_bytes)  # shown when a bound is missed
    assert result.spilled_bytes <= spilled_bytes
    assert result.shared_bytes <= SHARED_BYTES
    if fused:
        assert "wgmma.mma_async" in result.ptx
        assert "cp.async.bulk.tensor" in result.ptx
        assert result.advisories == ()  # ptxas waits after every wgmma where it says so


@pytest.mark.parametrize(("options", "spilled_bytes"), [(PLAIN, 0), (CAPPED, 0), (PAIR, 0), (EVERYTHING, 32)])
def test_fused_statistics(
    options: dict[str, Any], spilled_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "fused_statistics_with_reference_kernel" if options["reference"] else "fused_statistics_kernel"
    merge = Launches(fused.merge_kernel)
    monkeypatch.setattr(fused, "merge_kernel", merge)
    call = lambda: fused.fused_statistics(fused_problem(**options))  # noqa: E731
    result = compiled(*launched(monkeypatch, fused, name, call), tmp_path)
    fits(result, spilled_bytes=spilled_bytes, fused=True)
    fits(compiled(merge.kernel, merge.arguments[0], tmp_path), spilled_bytes=0, fused=False)


@pytest.mark.parametrize(("options", "spilled_bytes"), [(PLAIN, 0), (CAPPED, 192), (PAIR, 0), (EVERYTHING, 192)])
def test_fused_logits_gradient(
    options: dict[str, Any], spilled_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scalars = fake(10 if options["reference"] else 5, TOKENS, dtype=torch.float32)
    out = fake(TOKENS, 16_384)
    call = lambda: fused.fused_logits_gradient(fused_problem(**options), scalars, 16_384, out)  # noqa: E731
    result = compiled(*launched(monkeypatch, fused, "fused_gradient_kernel", call), tmp_path)
    fits(result, spilled_bytes=spilled_bytes, fused=True)
    assert "st.global.v4" in result.ptx


@pytest.mark.parametrize("options", [PLAIN, EVERYTHING])
@pytest.mark.parametrize("cols", [4096, 507])
def test_tiles(options: dict[str, Any], cols: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = tile_arguments(cols, **options)
    call = lambda: tiles.tile_statistics(*arguments)  # noqa: E731
    result = compiled(*launched(monkeypatch, tiles, "_statistics_kernel", call), tmp_path)
    fits(result, spilled_bytes=0, fused=False)
    assert result.registers <= 128  # at least 16 warps on a multiprocessor, to hide the latency of loads
    assert cols != 4096 or "ld.global.v4" in result.ptx
    scalars, out = fake(10 if options["reference"] else 5, TOKENS, dtype=torch.float32), fake(TOKENS, cols)
    call = lambda: tiles.tile_gradient(*arguments, scalars, out)  # noqa: E731
    result = compiled(*launched(monkeypatch, tiles, "_gradient_kernel", call), tmp_path)
    fits(result, spilled_bytes=0, fused=False)
    assert result.registers <= 128


@pytest.mark.parametrize("options", [PLAIN, CAPPED])
def test_fixed_point(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    temperature = fake(TOKENS, dtype=torch.float32) if options["temperature"] else None
    logits, quantized = fake(TOKENS, 4096, dtype=torch.float32), fake(TOKENS, 4096, dtype=torch.int16)
    row_max, softcap = fake(TOKENS, dtype=torch.float32), options["softcap"]
    for name, call in {
        "_quantize_kernel": lambda: fixed_point.quantize(logits, temperature, softcap, quantized, row_max),
        "_dequantize_kernel": lambda: fixed_point.dequantize(quantized, row_max, temperature, softcap),
    }.items():
        result = compiled(*launched(monkeypatch, fixed_point, name, call), tmp_path)
        fits(result, spilled_bytes=0, fused=False)
        assert result.registers <= 64
