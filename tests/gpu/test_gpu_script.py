"""The script that measures on a GPU machine runs through without one, and one failing part does not lose the others."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    wheels = folder / "wheels"
    wheels.mkdir()
    (wheels / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    command = ["benchmarks/gpu.sh", "--dry-run", "--wheels", str(wheels), "--python", sys.executable, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 1, result.stdout + result.stderr  # the wheel cannot be installed
    (folder / "console.txt").write_text(result.stdout)
    return folder


def test_every_part_runs_though_the_first_one_fails(output: Path) -> None:
    summary = (output / "summary.txt").read_text()
    assert "wheels: failed" in summary
    for part in ("environment", "correctness", "benchmark", "learner"):
        assert f"{part}: ok" in summary, summary
    assert (output / "correctness.log").read_text().count("test_kernels_gpu.py::") >= 20
    assert len((output / "console.txt").read_text().splitlines()) < 60


def test_missing_peers_have_rows(output: Path) -> None:
    with (output / "linear_token_stats.csv").open(newline="") as file:
        rows = {row["provider"]: row for row in csv.DictReader(file)}
    assert {"bare products", "torch eager", "Liger CuTe, per token", "verl Triton", "QuACK", "TRL chunked"} <= set(rows)
    for row in rows.values():
        assert row["status"].startswith(("ok", "missing: ", "refused: ")), row
        assert bool(row["ms"]) == (row["status"] == "ok")
    assert float(rows["prorl chunked"]["error_logprob"]) <= 1e-4
    assert float(rows["prorl chunked"]["useful_tflops"]) > 0
    assert all(rows["prorl chunked"][name] for name in ("torch", "commit", "device", "at", "workspace_mib"))
