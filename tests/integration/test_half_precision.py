"""A run in bf16 on a CPU: what a GPU computes in by default, with the same optimizer, checkpoints and engine."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from helpers.programs import Program, contents, metrics, run_program
from safetensors.torch import load_file

from prorl_mega.errors import ExitCode

STEPS = 6
SETTINGS = ("model.precision=bf16", f"schedule.steps={STEPS}")


@pytest.mark.slow
def test_a_run_in_16_bits_learns_in_32_and_resumes_bit_for_bit(setup: Path, run_arguments: tuple[str, ...]) -> None:
    arguments = (*run_arguments, *SETTINGS)
    whole, parted = setup / "runs" / "half", setup / "runs" / "half_parted"
    finished = run_program("prorl_mega.train", setup, *arguments, "name=half")
    assert finished.code == ExitCode.FINISHED, finished.output
    with Program("prorl_mega.train", setup, *arguments, "name=half_parted") as program:
        program.wait_until(lambda: len(metrics(parted)) >= 3)
        program.send(signal.SIGKILL)
        assert program.finish().code == -signal.SIGKILL
    resumed = run_program("prorl_mega.train", setup, *arguments, "name=half_parted")
    assert resumed.code == ExitCode.FINISHED, resumed.output
    assert "resuming after step" in resumed.output
    assert metrics(parted, seconds=False) == metrics(whole, seconds=False)
    last = f"checkpoints/step_{STEPS:06d}"
    assert contents(parted / last) == contents(whole / last)

    policy = load_file(whole / last / "policy-tp00-pp00.safetensors")
    optimizer = load_file(whole / last / "optimizer-tp00-pp00-dp00.safetensors")
    mains = {name.removesuffix("/main"): value for name, value in optimizer.items() if name.endswith("/main")}
    assert {tensor.dtype for tensor in policy.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in optimizer.values()} == {torch.float32}
    assert len(mains) == len([name for name in policy if not name.endswith("_extra_state")])
    for name, main in mains.items():
        torch.testing.assert_close(main.bfloat16(), policy[name].flatten(), rtol=0, atol=0)
    finer = sum(int((main != main.bfloat16()).sum()) for main in mains.values())
    assert finer > 0.5 * sum(main.numel() for main in mains.values()), "the copies hold nothing that 16 bits would not"
