"""`plan --best`: layouts that fit, the fastest first, and words where none does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.settings import QWEN2_1P5B, model_directory, run_config

from prorl_mega.errors import ConfigError
from prorl_mega.huggingface.config import describe
from prorl_mega.planning.numbers import best_lines, time_lines
from prorl_mega.planning.search import layouts

ROOT = Path(__file__).resolve().parents[2]
QWEN2_72B: dict[str, Any] = QWEN2_1P5B | {
    "hidden_size": 8192, "intermediate_size": 29568, "num_attention_heads": 64, "num_key_value_heads": 8,
    "num_hidden_layers": 80,
}  # fmt: skip
LONG = ("rollout.max_response_tokens=8192", "model.precision=bf16", "parallel.max_tokens_per_microbatch=8704",
        "rollout.gpu_memory_fraction=0.5", "rollout.max_prompt_tokens=512")  # fmt: skip


def test_a_small_model_is_not_divided(tmp_path: Path) -> None:
    model = model_directory(tmp_path / "model")
    found, _ = layouts(run_config(model, *LONG), describe(str(model)), 32)
    assert (found[0].tensor, found[0].pipeline) == (1, 1)
    seconds = [each.seconds["step"] for each in found]
    assert seconds == sorted(seconds)
    assert len(found) > 5


def test_a_large_one_is(tmp_path: Path) -> None:
    model = model_directory(tmp_path / "model", **QWEN2_72B)
    config = run_config(model, *LONG, "model.recompute=full", "reference.offload=true")
    found, refused = layouts(config, describe(str(model)), 1024)
    assert found
    assert refused
    assert all(each.tensor * each.pipeline >= 8 for each in found)
    with pytest.raises(ConfigError, match=r"none of \d+ layouts of 8 GPUs \(h100\) fits; more GPUs"):
        best_lines(config, describe(str(model)), 8)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    model = model_directory(tmp_path / "model", **QWEN2_72B)
    lines = time_lines(run_config(model, *LONG), describe(str(model)), 8)
    assert "the learner needs" in lines["will not fit"]
    small = model_directory(tmp_path / "small")
    lines = time_lines(run_config(small, *LONG), describe(str(small)), 8)
    assert "will not fit" not in lines
    assert "GPU-hours" in lines["in all"]


def test_the_program(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "prorl_mega.plan", "--best", "experiment=prorl_v1_1p5b", "cluster=h100_4x8",
        f"model.path={model_directory(tmp_path / 'model')}", "model=random", "name=x",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1. parallel.tensor=1 parallel.pipeline=1 rollout.tensor=1: ")
    assert "layouts fit" in done.stdout
