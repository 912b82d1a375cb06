"""The real programs on a run whose checkpoints are intact and wrong: the one before, or an exit code and a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers import forged_checkpoints as forged
from helpers.forged_checkpoints import LEARNER, OPTIMIZER, put
from helpers.programs import Finished, run_program

from prorl_mega.errors import ExitCode
from prorl_mega.run.checkpoints import STATE


@pytest.fixture
def run(setup: Path, uninterrupted: tuple[Finished, Path]) -> Path:
    """A copy of a finished run of 10 steps that has the checkpoints 9 and 10."""
    assert uninterrupted[0].code == 0, uninterrupted[0].output
    shutil.rmtree(setup / "runs" / "forged", ignore_errors=True)
    return Path(shutil.copytree(uninterrupted[1], setup / "runs" / "forged"))


def goes_on(setup: Path, arguments: tuple[str, ...]) -> Finished:
    done = run_program("prorl_mega.train", setup, *arguments, "name=forged")
    assert "Traceback" not in done.output
    return done


def test_the_checkpoint_before_is_gone_on_from(run: Path, setup: Path, run_arguments: tuple[str, ...]) -> None:
    """And what comes of it is what was there."""
    policy = run / "checkpoints" / "step_000010" / "policy-tp00-pp00.safetensors"
    before = policy.read_bytes()
    forged.change_json(run / "checkpoints" / "step_000010", LEARNER, put("optimizer_steps", to=999_999))
    done = goes_on(setup, run_arguments)
    assert done.code == ExitCode.FINISHED, done.output
    assert "checkpoint step_000010: learner.json has optimizer_steps=999999; " in done.output
    assert "resuming after step 9" in done.output
    assert policy.read_bytes() == before


def test_none_is_left(run: Path, setup: Path, run_arguments: tuple[str, ...]) -> None:
    forged.rewrite(run / "checkpoints" / "step_000010", STATE, "[" * 100_000)
    kl_factor = put("controller", "progress", "kl_factor", to=-1)
    forged.change_json(run / "checkpoints" / "step_000009", STATE, kl_factor)
    done = goes_on(setup, run_arguments)
    assert done.code == ExitCode.NO_VALID_CHECKPOINT, done.output
    assert "step_000010: state.json cannot be read: more than 64 objects and lists" in done.output
    assert "step_000009: controller state 'progress': Expected `float` > 0.0 - at `$.kl_factor`" in done.output
    assert "Restore one of them from a copy" in done.output


def test_tensors_and_rows_that_are_read_later(run: Path, setup: Path, run_arguments: tuple[str, ...]) -> None:
    newest = run / "checkpoints" / "step_000010"
    forged.change_tensors(newest, OPTIMIZER, lambda tensors: tensors[min(tensors)].view(-1)[:1].fill_(float("nan")))
    done = goes_on(setup, run_arguments)
    assert done.code == ExitCode.NO_VALID_CHECKPOINT, done.output
    assert f"{OPTIMIZER}: " in done.output
    assert "is not finite; move" in done.output
    shutil.rmtree(newest)
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"reward/mean": ', '"reward/mean": "x", "more": ', 3))
    done = goes_on(setup, run_arguments)
    assert done.code == ExitCode.DATA, done.output
    assert "metrics.jsonl:2: reward/mean='x' must be a number or null; put the file back as it was" in done.output
