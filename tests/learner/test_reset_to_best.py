"""The best policy so far: kept, returned to, saved with checkpoints; and a reference from a directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_mega.types import StepHyperparams
from prorl_mega.weights.load import load_weights

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.0, learning_rate=1e-2)


def one_update(learner: Any, seed: int) -> float:
    """Its KL to the reference, measured before the step."""
    sequences = make_sequences(8, seed=seed)
    learner.compute_log_probs(sequences)
    return learner.update(sequences, COEFFICIENTS)["policy/kl"]


def copies(learner: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.parameters().items()}


def returned_to_best(path: Path, other: Path, directory: Path, layout: dict[str, Any]) -> dict[str, Any]:
    learner = make_learner(path, **layout)
    found: dict[str, Any] = {}
    one_update(learner, seed=1)
    learner.keep_best()
    best = copies(learner)
    moments = learner._optimizer.steps
    found["distance"] = one_update(learner, seed=2)
    one_update(learner, seed=3)
    learner.save(directory, 1)

    learner.reset_reference(clear_optimizer=False, to_best=True)
    found["policy is the best"] = same_bits(copies(learner), best)
    found["optimizer is kept"] = learner._optimizer.steps == moments + 2
    found["next KL"] = one_update(learner, seed=4)
    found["then"] = one_update(learner, seed=5)
    ended = bits(learner)
    torch.distributed.barrier()

    resumed = make_learner(other, **layout)
    resumed.load(directory)
    resumed.reset_reference(clear_optimizer=False, to_best=True)
    found["resumed policy is the best"] = same_bits(copies(resumed), best)
    one_update(resumed, seed=4)
    one_update(resumed, seed=5)
    found["resumed goes on alike"] = same_bits(bits(resumed), ended)

    resumed.reset_reference(clear_optimizer=True, to_best=True)
    found["cleared"] = resumed._optimizer.steps
    found["policy is the best again"] = same_bits(copies(resumed), best)
    return found


def frozen_reference(path: Path, other: Path, directory: Path, layout: dict[str, Any]) -> dict[str, Any]:
    learner = make_learner(path, **layout)
    load_weights(other, learner.reference_parameters(), learner.description, learner.layout)
    found: dict[str, Any] = {"far": one_update(learner, seed=1)}
    learner.save(directory, 1)
    found["next"] = one_update(learner, seed=2)
    torch.distributed.barrier()
    resumed = make_learner(path, **layout)  # whose reference is its policy, until it is told better
    resumed.load(directory)
    found["resumed next"] = one_update(resumed, seed=2)
    resumed.reset_reference(clear_optimizer=False)
    found["after a reset"] = one_update(resumed, seed=3)
    return found


@pytest.mark.parametrize(("ranks", "layout"), [(1, {}), (2, {"tensor": 2})], ids=["one rank", "tensor parallel"])
def test_back_to_the_best_policy(tmp_path: Path, ranks: int, layout: dict[str, Any]) -> None:
    path, other = (tiny_checkpoint(tmp_path / name, "qwen2_tied", seed=seed) for seed, name in enumerate(("a", "b")))
    (tmp_path / "saved").mkdir()
    for found in run_ranks(returned_to_best, ranks, path, other, tmp_path / "saved", layout, timeout_s=150):
        assert found.pop("distance") > 0
        assert found.pop("next KL") == 0.0
        assert found.pop("then") > 0
        assert found.pop("cleared") == 0
        assert all(found.values()), found


def test_a_reference_from_a_directory(tmp_path: Path) -> None:
    path, other = (tiny_checkpoint(tmp_path / name, "qwen2_tied", seed=seed) for seed, name in enumerate(("a", "b")))
    (tmp_path / "saved").mkdir()
    (found,) = run_ranks(frozen_reference, 1, path, other, tmp_path / "saved", {}, timeout_s=150)
    assert found["far"] > 0.1
    assert found["resumed next"] == found["next"] > 0.1
    assert found["after a reset"] == 0.0
