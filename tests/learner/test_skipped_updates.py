"""An update that is not finite on one rank is left out by all of them, as often in a row as the settings say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner, make_sequences, same_bits
from helpers.tiny import tiny_checkpoint

from prorl_mega.errors import NumericsError
from prorl_mega.learner.skipped_updates import SKIPPED, SkippedUpdates
from prorl_mega.types import StepHyperparams

COEFFICIENTS = StepHyperparams(kl=0.1, entropy=0.01, learning_rate=1e-2)


def update(learner: Any, seed: int, *, broken: bool = False) -> dict[str, float]:
    sequences = make_sequences(10, seed=seed)
    learner.compute_log_probs(sequences)
    if broken:
        sequences[3].advantage = math.nan  # of one data-parallel rank
    found: dict[str, float] = learner.update(sequences, COEFFICIENTS)
    return found


def broken_gradient(learner: Any) -> None:
    """One element of one rank's gradient of the next update, whose loss is fine."""
    kind = type(learner._forward_backward)
    train = kind.train

    def spoiled(*arguments: Any) -> Any:
        trained = train(*arguments)
        if learner.layout.rank == 1:
            next(iter(learner._parameters.values())).main_grad.view(-1)[:].fill_(math.nan)
        kind.train = train
        return trained

    kind.train = spoiled


def course(path: str) -> dict[str, Any]:
    learner = make_learner(Path(path), optimizer={"max_skipped_updates": 1})
    first = update(learner, 1)
    before = bits(learner)
    skipped = update(learner, 2, broken=True)
    unchanged = same_bits(bits(learner), before)
    good = update(learner, 3)
    changed = not same_bits(bits(learner), before)
    before = bits(learner)
    broken_gradient(learner)
    by_gradient = update(learner, 4)
    unchanged = unchanged and same_bits(bits(learner), before)
    message = ""
    try:
        update(learner, 5, broken=True)
    except NumericsError as error:
        message = str(error)
    return {
        "skipped": [each[SKIPPED] for each in (first, skipped, good, by_gradient)],
        "finite": all(map(math.isfinite, [*skipped.values(), *by_gradient.values()])),
        "unchanged": unchanged,
        "changed": changed,
        "message": message,
        "after": same_bits(bits(learner), before),
    }


def test_all_ranks_leave_it_out(tmp_path: Path) -> None:
    path = str(tiny_checkpoint(tmp_path / "model", "qwen2_tied"))
    for found in run_ranks(course, 2, path, timeout_s=300):
        assert found["skipped"] == [0.0, 1.0, 0.0, 1.0]
        assert found["finite"]
        assert found["unchanged"]
        assert found["changed"]
        assert "after 1 that were left out in a row; the step was not applied" in found["message"]
        assert found["after"]


def test_without_the_setting_the_first_ends_the_run() -> None:
    judge = SkippedUpdates(0)
    assert judge.judge({"policy/loss": 1.0}) == {}
    with pytest.raises(
        NumericsError, match=r"policy/loss=inf; the step .*max_skipped_updates=2 leaves single ones out"
    ):
        judge.judge({"policy/loss": math.inf})
