"""One bit of one rank's weights is enough: all ranks refuse the update and name the rank and the tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_mega import faults
from prorl_mega.config.faults import FaultAction, FaultConfig
from prorl_mega.errors import ReplicaError
from prorl_mega.types import StepHyperparams

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.01, learning_rate=1e-2)


def flipped(path: str, directory: str, rank: int, layout: dict[str, Any], kind: str) -> dict[str, Any]:
    """What an update says after one bit of `rank`'s first parameter has changed, and whether it has changed others."""
    learner = make_learner(Path(path), optimizer={"kind": kind}, **layout)
    sequences = make_sequences(8, seed=1)
    learner.compute_log_probs(sequences)
    learner.update(sequences, COEFFICIENTS)
    faults.arm([FaultConfig(site="parameters", action=FaultAction.flip, step=0, rank=rank)], learner.layout.rank,
               Path(directory))  # fmt: skip
    before = bits(learner)
    first = next(iter(learner.parameters()))
    try:
        learner.update(sequences, COEFFICIENTS)
    except ReplicaError as error:
        after = bits(learner)
        others = [name for name in before if name != f"policy/{first}"]
        same = same_bits({name: before[name] for name in others}, {name: after[name] for name in others})
        return {"text": str(error), "same": same, "first": first}
    return {"text": "", "same": False, "first": first}


@pytest.mark.parametrize(
    ("ranks", "broken", "layout", "kind", "expected"),
    [
        (3, 1, {}, "adamw", "rank 1 holds other weights than rank 0, 2: "),
        (3, 2, {}, "muon", "rank 2 holds other weights than rank 0, 1: "),
        (4, 3, {"tensor": 2}, "adamw", "ranks 1, 3 hold different weights, and no majority says who is right: "),
        (4, 2, {"pipeline": 2}, "adamw", "ranks 2, 3 hold different weights, and no majority says who is right: "),
    ],
)
def test_it_is_named(ranks: int, broken: int, layout: dict[str, Any], kind: str, expected: str, tmp_path: Path) -> None:
    path = str(tiny_checkpoint(tmp_path / "model", "qwen2_tied"))
    found = run_ranks(flipped, ranks, path, str(tmp_path), broken, layout, kind, timeout_s=120)
    (text,) = {each["text"] for each in found}
    assert text == expected + found[broken]["first"]
    assert all(each["same"] for each in found)
    assert len(list((tmp_path / "faults").iterdir())) == 1
