"""`prorl_mega.export`: a run's checkpoint becomes the Hugging Face directory that it started from, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers.shards import CHECKPOINTS, described, empty_shards, layouts, read_checkpoint, write_checkpoint

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode
from prorl_mega.export import main
from prorl_mega.huggingface.config import describe
from prorl_mega.learner.checkpoint import LearnerState, save_state
from prorl_mega.run.checkpoints import MODEL, STATE, Checkpoints
from prorl_mega.run.retention import Retention
from prorl_mega.weights.directory import read_companions, write_companions
from prorl_mega.weights.load import load_weights


def write_run(run: Path, base: Path, tensor: int, pipeline: int, *, travels: bool = True) -> None:
    """Checkpoints after steps 1 and 2, as the ranks of a job write them; the second has all weights doubled."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"path": str(base), "family": None}}))
    keep = Retention(newest=2, best=True, scores={1: 0.5, 2: 0.4})
    checkpoints = Checkpoints(run / "checkpoints", ranks=Ranks.alone(), retention=keep, report=print)
    for step in (1, 2):
        with checkpoints.writing(step) as directory:
            for layout in layouts(tensor, pipeline, 2):
                policy = empty_shards(described(base), layout, fused_norms=layout.pipeline_rank == 1)
                load_weights(base, policy, described(base), layout)
                policy = {name: shard * step for name, shard in policy.items()}
                state = LearnerState(policy=policy, reference={}, optimizer={}, random={}, optimizer_steps=step)
                save_state(directory, layout, state, step)
            (directory / STATE).write_text("{}")
            if travels:
                write_companions(directory / MODEL, read_companions(base))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    base = write_checkpoint(tmp_path / "base", "qwen2", tied=False)
    write_run(tmp_path / "run", base, 2, 1)
    return tmp_path / "run"


LAYOUTS = [(2, 2), (1, 2), (4, 1), (2, 2), (1, 1), (2, 1), (2, 2), (2, 2), (4, 1)]


@pytest.mark.parametrize(
    ("family", "tied", "tensor", "pipeline"),
    [(*checkpoint, *sizes) for checkpoint, sizes in zip(CHECKPOINTS, LAYOUTS, strict=True)],
)
def test_the_newest_checkpoint_is_exported(tmp_path: Path, family: str, tied: bool, tensor: int, pipeline: int) -> None:
    base = write_checkpoint(tmp_path / "base", family, tied=tied)
    write_run(tmp_path / "run", base, tensor, pipeline)
    assert main([str(tmp_path / "run"), str(tmp_path / "exported")]) == 0
    expected, written = read_checkpoint(base), read_checkpoint(tmp_path / "exported")
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name] * 2) for name in expected)
    assert described(tmp_path / "exported") == described(base)


def test_a_checkpoint_that_is_named(run: Path, tmp_path: Path) -> None:
    assert main([str(run / "checkpoints" / "step_000001"), str(tmp_path / "exported")]) == 0
    expected, written = read_checkpoint(tmp_path / "base"), read_checkpoint(tmp_path / "exported")
    assert all(torch.equal(written[name], expected[name]) for name in expected)


def test_a_checkpoint_alone_is_exported_without_its_run_and_its_model(run: Path, tmp_path: Path) -> None:
    (tmp_path / "base" / "tokenizer.json").write_text('{"a": 1}')
    (tmp_path / "base" / "additional_chat_templates").mkdir()
    (tmp_path / "base" / "additional_chat_templates" / "default.jinja").write_text("{{ messages }}")
    write_run(tmp_path / "other", tmp_path / "base", 1, 1)
    alone = (tmp_path / "other" / "checkpoints" / "step_000001").rename(tmp_path / "alone")
    expected, tokenizer = read_checkpoint(tmp_path / "base"), (tmp_path / "base" / "tokenizer.json").read_bytes()
    description = describe(tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "moved")
    assert main([str(alone), str(tmp_path / "exported")]) == 0
    written = read_checkpoint(tmp_path / "exported")
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    assert (tmp_path / "exported" / "tokenizer.json").read_bytes() == tokenizer
    assert (tmp_path / "exported" / "additional_chat_templates" / "default.jinja").read_text() == "{{ messages }}"
    assert describe(tmp_path / "exported") == description


def test_a_run_of_version_0_1_needs_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_checkpoint(tmp_path / "base", "qwen2", tied=False)
    write_run(tmp_path / "run", base, 1, 1, travels=False)
    assert main([str(tmp_path / "run"), str(tmp_path / "exported")]) == 0
    base.rename(tmp_path / "moved")
    assert main([str(tmp_path / "run"), str(tmp_path / "again")]) == ExitCode.CONFIG
    assert str(base) in capsys.readouterr().err
    alone = (tmp_path / "run" / "checkpoints" / "step_000001").rename(tmp_path / "alone")
    assert main([str(alone), str(tmp_path / "again")]) == ExitCode.CONFIG
    assert "neither a run directory" in capsys.readouterr().err


@pytest.mark.parametrize(("dtype", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_the_dtype_is_a_choice(run: Path, tmp_path: Path, dtype: str, expected: torch.dtype) -> None:
    assert main([str(run), str(tmp_path / "exported"), "--dtype", dtype]) == 0
    base, written = read_checkpoint(tmp_path / "base"), read_checkpoint(tmp_path / "exported")
    assert all(torch.equal(written[name], (base[name] * 2).to(expected)) for name in base)
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == str(expected).removeprefix("torch.")


def test_the_best_is_exported_where_it_is_kept(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), str(tmp_path / "exported"), "--best"]) == 0
    base, written = read_checkpoint(tmp_path / "base"), read_checkpoint(tmp_path / "exported")
    assert all(torch.equal(written[name], base[name]) for name in base)
    (run / "checkpoints" / "BEST").unlink()
    assert main([str(run), str(tmp_path / "other"), "--best"]) == ExitCode.CONFIG
    assert "schedule.keep_best=true keeps" in capsys.readouterr().err
    assert main([str(run / "checkpoints" / "step_000001"), str(tmp_path / "other"), "--best"]) == ExitCode.CONFIG
    assert "is no run directory" in capsys.readouterr().err


def test_damage_is_passed_over_or_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = run / "checkpoints" / "step_000002"
    file = newest / "policy-tp01-pp00.safetensors"
    file.write_bytes(file.read_bytes()[:-8] + b"\1" * 8)
    assert main([str(newest), str(tmp_path / "exported")]) == ExitCode.NO_VALID_CHECKPOINT
    assert "policy-tp01-pp00.safetensors has changed" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()

    assert main([str(run), str(tmp_path / "exported")]) == 0
    assert "step_000001" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["base", "run/checkpoints", "nowhere"])
def test_what_is_not_a_run(run: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / source), str(tmp_path / "exported")]) == ExitCode.CONFIG
    assert source in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()


def test_a_target_that_is_something_else(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), str(run / "checkpoints")]) == ExitCode.CONFIG
    assert "is not a checkpoint" in capsys.readouterr().err
    assert (run / "checkpoints" / "step_000001").exists()
