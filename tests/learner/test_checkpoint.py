"""Saving and restoring: the same bits, the same future, and clear words about files that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_mega.errors import CheckpointError
from prorl_mega.learner.checkpoint import LearnerState, copy_into, load_state, save_state
from prorl_mega.types import ParallelLayout, StepHyperparams

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.01, learning_rate=1e-2)


def one_update(learner: Any, seed: int) -> None:
    sequences = make_sequences(8, seed=seed)
    learner.compute_log_probs(sequences)
    learner.update(sequences, COEFFICIENTS)


def interrupted_and_not(path: Path, directory: Path, layouts: list[dict[str, Any]]) -> list[bool]:
    """For each layout: does a learner that was saved, and one that was loaded, go on alike?"""
    results = []
    for index, layout in enumerate(layouts):
        place = directory / str(index)
        place.mkdir(exist_ok=True)
        learner = make_learner(path, **layout)
        one_update(learner, seed=1)
        learner.reset_reference(clear_optimizer=False)
        one_update(learner, seed=2)
        learner.save(place, 2)
        saved, drawn = bits(learner), torch.rand(3)
        one_update(learner, seed=3)
        one_update(learner, seed=4)
        torch.distributed.barrier()
        other = make_learner(path, **layout)
        other.load(place)
        alike = same_bits(bits(other), saved) and torch.equal(torch.rand(3), drawn)
        one_update(other, seed=3)
        one_update(other, seed=4)
        results.append(alike and same_bits(bits(other), bits(learner)) and not same_bits(saved, bits(learner)))
    return results


@pytest.mark.parametrize(
    ("ranks", "layouts"),
    [
        (1, [{}]),
        (4, [{"tensor": 2, "pipeline": 2}, {"pipeline": 2}, {"tensor": 2, "sequence": True, "capacity": 60}]),
    ],
    ids=["one rank", "four ranks"],
)
def test_a_restored_learner_goes_on_bit_for_bit(tmp_path: Path, ranks: int, layouts: list[dict[str, Any]]) -> None:
    path = tiny_checkpoint(tmp_path / "model", "qwen2_tied")
    by_rank = run_ranks(interrupted_and_not, ranks, path, tmp_path, layouts, timeout_s=150)
    assert by_rank == [[True] * len(layouts)] * ranks


def layout(**changes: int) -> ParallelLayout:
    single = {"tensor": 1, "pipeline": 1, "data": 1}
    sizes: dict[str, Any] = {f"{name}_{what}": value for name in single for what, value in (("size", 1), ("rank", 0))}
    return ParallelLayout(**({"world_size": 1, "rank": 0} | sizes | changes))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tensors = {"weight": torch.arange(6.0).view(2, 3)}
    state = LearnerState(
        policy=tensors,
        reference=tensors,
        optimizer={"weight/exp_avg": torch.ones(6)},
        random={"cpu": torch.get_rng_state()},
        optimizer_steps=3,
    )
    save_state(tmp_path, layout(), state, 3)
    return tmp_path


def test_files_are_plain_and_named_after_the_layout(saved: Path) -> None:
    names = ["learner.json"]
    names += [f"{part}-tp00-pp00-dp00.safetensors" for part in ("optimizer", "random")]
    names += [f"{part}-tp00-pp00.safetensors" for part in ("policy", "reference")]
    assert sorted(file.name for file in saved.iterdir()) == sorted(names)
    restored = load_state(saved, layout())
    assert torch.equal(restored.policy["weight"], torch.arange(6.0).view(2, 3))
    assert restored.optimizer_steps == 3


def test_only_one_data_rank_writes_the_weights(tmp_path: Path) -> None:
    state = LearnerState(policy={}, reference={}, optimizer={}, random={}, optimizer_steps=0)
    save_state(tmp_path, layout(world_size=2, rank=1, data_size=2, data_rank=1), state, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "optimizer-tp00-pp00-dp01.safetensors",
        "random-tp00-pp00-dp01.safetensors",
    ]


@pytest.mark.parametrize("name", ["learner.json", "policy-tp00-pp00.safetensors", "random-tp00-pp00-dp00.safetensors"])
def test_missing_and_damaged_files_are_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_state(saved, layout())
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
        load_state(saved, layout())


@pytest.mark.parametrize("change", [{"format": 2}, {"tensor": "1"}, {"optimizer_steps": -1}])
def test_a_manifest_with_wrong_values_is_refused(saved: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((saved / "learner.json").read_text())
    (saved / "learner.json").write_text(json.dumps(manifest | change))
    with pytest.raises(CheckpointError, match=r"learner\.json"):
        load_state(saved, layout())


def test_tensors_of_another_model_are_refused_before_anything_is_copied() -> None:
    live = {"a": torch.zeros(2), "b": torch.zeros(3)}
    with pytest.raises(CheckpointError, match="policy in the checkpoint is of another model: b"):
        copy_into(live, {"a": torch.ones(2)}, "policy")
    with pytest.raises(CheckpointError, match=r"policy b in the checkpoint is torch.float32 \[4\], this run needs"):
        copy_into(live, {"a": torch.ones(2), "b": torch.ones(4)}, "policy")
    assert not live["a"].any()


def test_state_is_what_save_was_given(saved: Path) -> None:
    state = load_state(saved, layout())
    save_state(saved, layout(), replace(state, optimizer_steps=4), 4)
    assert load_state(saved, layout()).optimizer_steps == 4
