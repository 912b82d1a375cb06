"""The checkpoints that a run keeps: the newest, those at a distance, and the best."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from helpers.thread_ranks import run_ranks
from helpers.toy_run import toy_config, toy_train

from prorl_mega.run.jsonl import read_rows


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
