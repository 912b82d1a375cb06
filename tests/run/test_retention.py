"""The checkpoints that a run keeps: the newest, those at a distance, and the best."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.thread_ranks import run_ranks
from helpers.toy_run import toy_config, toy_train

from prorl_mega.config.schedule import StageConfig
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.retention import Retention


def test_the_best_is_saved_when_it_is_found_and_kept_after_a_resume(tmp_path: Path) -> None:
    """By the numbers on disk: an interrupted run and an uninterrupted one keep the same checkpoints."""
    settings: dict[str, Any] = {
        "evaluate_every": 2,
        "save_every": 5,
        "keep_checkpoints": 1,
        "keep_best": True,
        "keep_every": 10,
    }

    def kept(root: Path) -> list[int]:
        return sorted(int(path.name[5:]) for path in (root / "toy" / "checkpoints").glob("step_*"))

    for steps in (9, 17, 24):
        config = toy_config(tmp_path / "a", steps, **settings)
        run_ranks(2, partial(toy_train, config))
    run_ranks(2, lambda ranks: toy_train(toy_config(tmp_path / "b", 24, **settings), ranks))
    rows = read_rows(tmp_path / "b" / "toy" / "metrics.jsonl")
    scores = {row["step"]: row["evaluation/pass@1"] for row in rows if "evaluation/pass@1" in row}
    best = max(scores, key=lambda step: scores[step])
    assert best % 5, "or nothing is shown"
    assert kept(tmp_path / "b") == sorted({best, 10, 20, 24})
    assert (tmp_path / "b" / "toy" / "checkpoints" / "BEST").read_text() == f"step_{best:06d}\n"
    assert max(kept(tmp_path / "a")) == 24
    assert {best, 10, 20} <= set(kept(tmp_path / "a"))


@pytest.mark.parametrize(
    "key",
    [
        "evaluation.temperature",
        "rollout.max_response_tokens",
        "rollout.max_prompt_tokens",
        "schedule.stages[1].rollout.max_response_tokens",
        "model.keep_special_tokens",
    ],
)
def test_scores_of_another_kind_are_not_compared(key: str) -> None:
    retention = Retention(newest=1, best=True)
    rows = [{"step": step, "evaluation/pass@1": score} for step, score in ((0, 0.95), (2, 0.9), (4, 0.3), (6, 0.5))]
    change: dict[str, Any] = {"step": 3, "trigger": "settings", "action": "change", "key": key}
    retention.resume(rows, [change | {"key": "optimizer.learning_rate"}])
    assert retention.best_of([2, 4, 6]) == 2, "and step 0 has no checkpoint"
    retention.resume(rows, [change])
    assert retention.best_of([2, 4, 6]) == 6
    assert retention.is_best(6)
    assert retention.kept([2, 4, 6, 7, 8]) == {6, 8}


@pytest.mark.parametrize(("limit", "best"), [(64, 2), (128, 4)])
def test_stages_with_other_limits_are_not_compared(tmp_path: Path, limit: int, best: int) -> None:
    config = toy_config(tmp_path, 9, keep_best=True)
    config.rollout.max_response_tokens = 64
    config.schedule.stages = [StageConfig(steps=3), StageConfig(rollout={"max_response_tokens": limit})]
    retention = Retention.of(config)
    scores = [{"step": 2, "evaluation/pass@1": 0.9}, {"step": 4, "evaluation/pass@1": 0.3}]
    retention.resume(scores, [{"step": 3, "trigger": "stage", "action": "next_stage"}])
    assert retention.best_of([2, 4]) == best
