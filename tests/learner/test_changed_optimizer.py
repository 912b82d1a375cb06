"""A learner goes on with other settings: its state is the checkpoint's, everything else is in the settings of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

KINDS = ("adamw", "sgd", "muon")
BEFORE = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.5}
AFTER = {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "momentum": 0.3, "weight_decay": 0.0, "learning_rate": 0.1}


def go_on(path: Path, directory: Path) -> dict[str, list[bool]]:
    """By kind: whether the next step is the one of today's settings, and whether it is another one than before."""
    samples = make_sequences(8)
    found: dict[str, list[bool]] = {}
    for kind in KINDS:
        learner = make_learner(path, tensor=2, optimizer=BEFORE | {"kind": kind})
        learner.sft_step(samples, 1e-2)
        saved = directory / kind
        saved.mkdir(exist_ok=True)
        torch.distributed.barrier()
        learner.save(saved, 1)
        learner.sft_step(samples, 1e-3)
        straight = bits(learner)
        torch.distributed.barrier()

        changed = make_learner(path, tensor=2, optimizer=AFTER | {"kind": kind})
        changed.load(saved)
        changed.sft_step(samples, 1e-3)

        expected = make_learner(path, tensor=2, optimizer=BEFORE | {"kind": kind})
        expected.load(saved)
        set_in_place(expected)
        expected.sft_step(samples, 1e-3)
        found[kind] = [same_bits(bits(changed), bits(expected)), not same_bits(bits(changed), straight)]
    return found


def set_in_place(learner: Any) -> None:
    """The settings of `AFTER` in the groups of torch's optimizers, past everything of ours."""
    optimizer = learner._optimizer
    optimizer._settings.weight_decay = AFTER["weight_decay"]
    for each in optimizer._chain.chained_optimizers:
        for group in each.optimizer.param_groups:
            values = {"betas": (AFTER["beta1"], AFTER["beta2"]), "eps": AFTER["epsilon"], "momentum": AFTER["momentum"]}
            group.update({name: value for name, value in values.items() if name in group})


def other_sequences(path: Path, directory: Path) -> list[float]:
    """The loss after going on without sequence parallelism and with it, in smaller micro-batches."""
    samples, losses = make_sequences(8), []
    learner = make_learner(path, tensor=2)
    learner.sft_step(samples, 1e-2)
    saved = directory / "sequence"
    saved.mkdir(exist_ok=True)
    torch.distributed.barrier()
    learner.save(saved, 1)
    torch.distributed.barrier()
    for sequence, capacity in ((False, 10_000), (True, 60)):
        resumed = make_learner(path, tensor=2, sequence=sequence, capacity=capacity)
        resumed.load(saved)
        losses += [resumed.sft_step(samples, 1e-3)["loss/total"] for _ in range(2)]
    return losses


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "qwen3")


def test_the_optimizer_goes_on_with_todays_settings(path: Path, tmp_path: Path) -> None:
    for found in run_ranks(go_on, 2, path, tmp_path, timeout_s=240):
        assert found == {kind: [True, True] for kind in KINDS}


def test_sequence_parallelism_may_be_switched_on(path: Path, tmp_path: Path) -> None:
    for first, second, *others in run_ranks(other_sequences, 2, path, tmp_path, timeout_s=240):
        assert others == pytest.approx([first, second], rel=1e-5)
        assert first != second
