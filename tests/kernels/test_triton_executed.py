"""Runs the tests of the Triton kernels on their code for compute capability 9.0, instruction by instruction.

Triton compiles for its driver, so a process has one: the one of `helpers/sm90`, whose GPU is made of numpy. It has no
speed, but it has rules: bounds of tensors, races between warps and between programs, asynchronous copies and products
that nobody has waited for.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FILES = sorted(
    path.relative_to(FOLDER) for kind in ("interpreted", "executed") for path in (FOLDER / kind).glob("test_*")
)


SLOW = ("test_fused.py", "test_op.py")  # minutes, of kernels that rarely change


@pytest.mark.parametrize(
    "file", [pytest.param(each, marks=[pytest.mark.slow] * (each.name in SLOW), id=str(each)) for each in FILES]
)
def test_as_compiled(file: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "helpers.sm90.plugin"]
    result = subprocess.run(
        [*command, str(FOLDER / file)], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
