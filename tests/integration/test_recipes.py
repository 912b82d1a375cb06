"""`python -m prorl_mega.train` with settings far from the defaults, as one process and on two tensor-parallel ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.programs import metrics, run_program

SEQUENCE_LEVEL = (
    "recipe.policy_loss.kind=gspo",
    "recipe.loss.aggregation=sequence_mean",
    "recipe.advantage.estimator=reinforce_pp_baseline",
    "recipe.advantage.batch_moments=token",
    "recipe.kl.estimator=exact_forward",
    "recipe.importance_sampling.kind=mis",
    "recipe.shaping.length_weight=0.1",
    "recipe.shaping.length_on_steps=1",
    "recipe.curriculum.by=entry",
    "recipe.curriculum.min_groups=1",
)
PENALTY_IN_THE_REWARD = (
    "recipe.policy_loss.kind=cispo",
    "recipe.policy_loss.clip_low=1",
    "recipe.loss.aggregation=fixed_length",
    "recipe.loss.fixed_length=12",
    "recipe.advantage.estimator=reinforce_pp",
    "recipe.selection.dynamic_sampling=false",
    "recipe.selection.keep_uniform_groups=true",
    "recipe.prompts_per_update=2",
    "recipe.kl.estimator=k1",
    "recipe.kl.placement=reward",
    "recipe.importance_sampling.kind=tis",
    "recipe.shaping.termination=scale",
)


@pytest.mark.parametrize(
    ("name", "ranks", "settings", "expected"),
    [
        (
            "sequence_level",
            1,
            SEQUENCE_LEVEL,
            {"sampler/corrected", "reward/shaped", "reward/length_penalty_on", "curriculum/units", "policy/kl"},
        ),
        (
            "penalty_in_the_reward",
            2,
            (*PENALTY_IN_THE_REWARD, "parallel.tensor=2"),
            {"sampler/correction", "reward/shaped", "reward/kl_penalty", "policy/kl"},
        ),
    ],
)
def test_three_steps(setup: Path, name: str, ranks: int, settings: tuple[str, ...], expected: set[str]) -> None:
    finished = run_program(
        "prorl_mega.train",
        setup,
        "experiment=small",
        "schedule.steps=3",
        "schedule.evaluate_every=0",
        f"name={name}",
        *settings,
        ranks=ranks,
    )
    assert finished.code == 0, finished.output
    rows = metrics(setup / "runs" / name)
    assert len(rows) == 3
    for row in rows:
        assert expected <= set(row)
        assert all(math.isfinite(row[key]) for key in expected | {"loss/total", "optimizer/grad_norm"})
    assert rows[0]["policy/kl"] == pytest.approx(0.0, abs=1e-6 if ranks == 1 else 1.0)
    assert rows[2]["policy/kl"] != 0
    if name == "sequence_level":
        assert [row["reward/length_penalty_on"] for row in rows] == [1.0, 0.0, 0.0]
        assert "curriculum" in saved_state(setup / "runs" / name)


def saved_state(run: Path) -> str:
    """Everything in JSON that the last checkpoint says."""
    checkpoint = run / "checkpoints" / (run / "checkpoints" / "LATEST").read_text().strip()
    return " ".join(json.dumps(json.loads(file.read_text())) for file in checkpoint.glob("*.json"))
