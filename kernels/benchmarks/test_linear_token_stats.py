"""The benchmark: `pytest kernels/benchmarks`. The full grid on a CUDA device, otherwise sizes for a CPU.

A case fails when one of this package's implementations fails or is wrong; speed does not matter here.
"""

from __future__ import annotations

import pytest
import torch

from prorl_kernels.benchmarks.cases import GRIDS, Case
from prorl_kernels.benchmarks.session import Session

CASES = GRIDS["gpu" if torch.cuda.is_available() else "cpu"]
MOST = {"logprob": 1e-4, "entropy": 1e-4, "kl_reverse": 5e-6, "d_hidden": 6e-3, "d_weight": 6e-3}
"""Errors allowed: absolute ones of statistics, relative ones of gradients (bf16: one rounding is 2⁻⁹ at most)."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_case(case: Case, session: Session) -> None:
    ours = [cell for cell in session.measure(case) if cell.provider.name.startswith("prorl")]
    ours = [cell for cell in ours if not cell.status.startswith("refused")]
    assert ours
    for cell in ours:
        assert cell.status == "ok", f"{cell.provider.name}: {cell.status}"
        for name, error in cell.errors.items():
            assert error <= MOST[name], f"{cell.provider.name}: error of {name} {error:.1e} exceeds {MOST[name]:.1e}"
