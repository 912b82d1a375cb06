"""The GPU of numpy notices what a real one would not forgive: every kind of fault, put into compiled kernels."""

import re
from collections.abc import Callable

import pytest
import torch
from helpers.sm90.driver import Launcher
from helpers.sm90.memory import MachineError

from prorl_kernels.linear_token_stats.problem import Projection
from prorl_kernels.linear_token_stats.triton.fused import fused_logits_gradient, fused_statistics

TOKENS, WIDTH, VOCAB = 130, 456, 700  # two blocks of rows; more steps of the product than stages; three tiles
STATISTICS, GRADIENT = "fused_statistics_kernel", "fused_gradient_kernel"
RUN = {STATISTICS: lambda: statistics(), GRADIENT: lambda: gradient()}


def inputs() -> Projection:
    torch.manual_seed(0)
    return Projection(
        hidden=torch.randn(TOKENS, WIDTH).to(torch.bfloat16),
        weight=torch.randn(VOCAB, WIDTH).to(torch.bfloat16),
        targets=torch.randint(0, VOCAB, (TOKENS,)),
    )


def statistics() -> torch.Tensor:
    return fused_statistics(inputs())


def gradient() -> torch.Tensor:
    out = torch.full((TOKENS, 512), torch.nan, dtype=torch.bfloat16)
    return fused_logits_gradient(inputs(), torch.ones(5, TOKENS), 0, out)


def broken(name: str, edit: Callable[[str], str]) -> Callable[[str, str], str]:
    def change(kernel: str, text: str) -> str:
        if kernel != name:
            return text
        changed = edit(text)
        assert changed != text, "the edit finds nothing"
        return changed

    return change


@pytest.mark.parametrize("kernel", [STATISTICS, GRADIENT])
def test_as_compiled_they_run(kernel: str) -> None:
    assert RUN[kernel]().isfinite().all()


@pytest.mark.parametrize(
    ("kernel", "pattern", "replacement", "message"),
    [
        (STATISTICS, r"wgmma\.wait_group\.sync\.aligned 0;", "", "read before the matrix instruction"),
        (STATISTICS, r"aligned 1;", "aligned 2;", "written while a matrix instruction may still read it"),
        (STATISTICS, r"wgmma\.fence\.sync\.aligned;", "", "after the last wgmma.fence"),
        (STATISTICS, r"bar\.sync\s+0;(?=\s+ld\.shared)", "", "reads shared memory that another one wrote"),
        (STATISTICS, r"bar\.sync\s+0;(?=\s+st\.shared)", "", "writes shared memory that another one"),
        (STATISTICS, r"bar\.sync\s+0;", "", "no barrier in between"),
        (STATISTICS, r"fence\.proxy\.async[^;]*;", "", "no fence.proxy.async in between"),
        (STATISTICS, r"49152;", "49168;", "whose arrivals or bytes never come"),
        (STATISTICS, r"mbarrier\.try_wait", "mbarrier.test_wait", "test_wait"),
        (STATISTICS, r"@%p\d+ st\.global", "st.global", "outside of the tensors|another one writes|different values"),
        (STATISTICS, r"(shfl\.sync\.bfly\.b32 \s*%r\d+, %r\d+), 2,", r"\1, 1,", "different values in one word"),
        (GRADIENT, r"@%p\d+ (st\.global\.v4)", r"\1", "outside of the tensors|another one writes|different values"),
        (GRADIENT, r"bar\.sync\s+0;(?=\s+ldmatrix)", "", "reads shared memory that another one wrote"),
        (GRADIENT, r"st\.global\.v4\.b32 \[ (%rd\d+) \+ 0 \]", r"st.global.v4.b32 [ \1 + 2 ]", "do not divide"),
    ],
)
def test_a_fault_is_noticed(
    kernel: str, pattern: str, replacement: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = broken(kernel, lambda text: re.sub(pattern, replacement, text))
    monkeypatch.setattr(Launcher, "edit", staticmethod(edit))
    with pytest.raises(MachineError, match=message):
        RUN[kernel]()


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"0f3FB8AA3B", "0f3F800000"),  # log2(e)
        (r"m64n256k16\.f32\.bf16\.bf16", "m64n256k16.f32.f16.f16"),
        (r"max\.f32", "min.f32"),
    ],
)
def test_a_wrong_number_changes_the_result(pattern: str, replacement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = statistics()
    edit = broken(STATISTICS, lambda text: re.sub(pattern, replacement, text))
    monkeypatch.setattr(Launcher, "edit", staticmethod(edit))
    assert not torch.equal(statistics(), expected)
