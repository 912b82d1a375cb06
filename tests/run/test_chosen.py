"""A checkpoint that somebody chose, of a run that goes on."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prorl_mega import evaluation_parts
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import CheckpointError, ConfigError
from prorl_mega.run import chosen
from prorl_mega.run.chosen import chosen_checkpoint, told_if_deleted
from prorl_mega.weights.saved import policy_files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (20, 40):
        (tmp_path / "run" / "checkpoints" / f"step_{step:06d}").mkdir(parents=True)
    return tmp_path / "run"


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_named_with_what_is_left(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step_000020"
    with pytest.raises(ConfigError) as caught:
        _read_while_it_is_deleted(checkpoint)
    assert str(caught.value).startswith(f"step=20: {checkpoint} was deleted while it was being read")
    assert f"{run} has checkpoints of steps 40 now; name one of them, `last` or `best`" in str(caught.value)


def _read_while_it_is_deleted(checkpoint: Path) -> None:
    with told_if_deleted(checkpoint):
        shutil.rmtree(checkpoint)
        policy_files(checkpoint)


def test_other_errors_of_a_checkpoint_that_is_there_stay_what_they_are(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step_000020"
    with pytest.raises(CheckpointError, match="files of the policy are missing"), told_if_deleted(checkpoint):
        policy_files(checkpoint)


def test_it_is_told_while_the_checkpoint_is_verified(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = chosen.manifest.read

    def deleted_first(checkpoint: Path) -> Any:
        shutil.rmtree(checkpoint)
        return read(checkpoint)

    (run / "config.yaml").touch()
    monkeypatch.setattr(chosen.manifest, "read", deleted_first)
    with pytest.raises(ConfigError, match=r"step=20: .* has checkpoints of steps 40 now"):
        chosen_checkpoint(run, "20")


def test_it_is_told_while_the_engine_starts(run: Path) -> None:
    """Of two: the tensors may come from one checkpoint and configuration and tokenizer from another."""
    policy = evaluation_parts.StoredPolicy(
        model=run / "checkpoints" / "step_000060" / "model",
        family=None,
        label="step_000020",
        checkpoint=run / "checkpoints" / "step_000020",
        step=20,
    )
    config = EvaluateConfig()
    config.model.path = str(policy.model)
    tokenizer: Any = object()
    log: Any = SimpleNamespace(message=print)
    with pytest.raises(ConfigError, match=r"step=60: .* has checkpoints of steps 20, 40 now"):
        evaluation_parts._engine(config, policy, tokenizer, log, Ranks.alone(), contextlib.ExitStack())
