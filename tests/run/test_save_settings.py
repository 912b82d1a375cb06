"""Every setting that is about saving, keeping and resuming does something: another value, another end on disk."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_run import Toy, toy_config, toy_train

from prorl_mega.config.keys import setting_keys
from prorl_mega.config.schema import Resume, RunConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError, NumericsError
from prorl_mega.run import manifest
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.run_directory import TrainingRun

ABOUT = re.compile(r"save|keep_|resume|rollback|checkpoint")
OTHERS = {
    "recipe.selection.keep_uniform_groups",  # of groups, not of checkpoints
    "model.keep_special_tokens",  # of answers
}
STEPS = 12
KEPT: dict[str, dict[str, Any]] = {
    "schedule.save_every": {"save_every": 6},
    "schedule.keep_checkpoints": {"keep_checkpoints": 4},
    "schedule.keep_every": {"keep_every": 3},
    "schedule.keep_best": {"keep_best": True},
}


def kept(root: Path, steps: int = STEPS, **schedule: Any) -> list[str]:
    """The names in `checkpoints/` after a run."""
    config = toy_config(root, steps, **({"save_every": 1, "keep_checkpoints": 1, "evaluate_every": 4} | schedule))
    toy_train(config, Ranks.alone())
    return sorted(path.name for path in (root / "toy" / "checkpoints").iterdir())


def test_every_such_setting_has_a_test_here() -> None:
    found = {key for key in setting_keys(RunConfig) if ABOUT.search(key)} - OTHERS
    assert found == {*KEPT, "schedule.save_in_background", "resume", "optimizer.max_rollbacks"}


@pytest.mark.parametrize(
    ("key", "steps"), [("schedule.keep_checkpoints", [9, 10, 11, 12]), ("schedule.keep_every", [3, 6, 9, 12])]
)
def test_what_is_kept(key: str, steps: list[int], tmp_path: Path) -> None:
    assert kept(tmp_path / "without") == ["LATEST", f"step_{STEPS:06d}"]
    assert kept(tmp_path / "with", **KEPT[key]) == ["LATEST", *(f"step_{step:06d}" for step in steps)]


def test_the_best_is_kept(tmp_path: Path) -> None:
    names = kept(tmp_path, **KEPT["schedule.keep_best"])
    rows = read_rows(tmp_path / "toy" / "metrics.jsonl")
    scores = {row["step"]: row["evaluation/pass@1"] for row in rows if "evaluation/pass@1" in row}
    best = max(scores, key=lambda step: scores[step])
    assert best < STEPS, "or nothing is shown"
    assert names == ["BEST", "LATEST", f"step_{best:06d}", f"step_{STEPS:06d}"]


def test_how_often_is_saved(tmp_path: Path) -> None:
    often = kept(tmp_path / "often", keep_checkpoints=9)
    rarely = kept(tmp_path / "rarely", keep_checkpoints=9, **KEPT["schedule.save_every"])
    assert len(often) - 1 == 9
    assert rarely == ["LATEST", "step_000006", "step_000012"]


def test_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while the disk does not answer, and its end waits for the disk."""
    answers = threading.Event()
    seal = manifest.seal
    monkeypatch.setattr(manifest, "seal", lambda path: answers.wait(30) and seal(path))
    toy, folder = Toy(), tmp_path / "toy" / "checkpoints"
    with TrainingRun(toy_config(tmp_path, 3, save_in_background=True), Ranks.alone()) as run:
        run.resume(toy.restore)
        with run.step(1):
            toy.advance()
        run.save(1, toy.save)
        assert [path.name for path in folder.iterdir()] == ["step_000001.tmp"]
        assert run.next_step(1) == 2
        assert [path.name for path in folder.iterdir()] == ["step_000001.tmp"]
        answers.set()
        run.finish(1, toy.save)
        assert sorted(path.name for path in folder.iterdir()) == ["LATEST", "step_000001"]


def test_resume(tmp_path: Path) -> None:
    kept(tmp_path, 3)
    config = toy_config(tmp_path, 4)
    config.resume = Resume.never
    with pytest.raises(ConfigError, match="resume=never"):
        toy_train(config, Ranks.alone())
    config.resume = Resume.auto
    toy_train(config, Ranks.alone())


@pytest.mark.parametrize("most", [0, 2])
def test_rollbacks(most: int, tmp_path: Path) -> None:
    """As often as the setting says, the last checkpoint is offered after an error; then the error stands."""
    kept(tmp_path, 3)
    config = toy_config(tmp_path, 6)
    config.optimizer.max_rollbacks = most
    error = NumericsError("not finite")
    with TrainingRun(config, Ranks.alone()) as run:
        run.resume(lambda directory: None)
        for _ in range(most):
            assert run.last_good_state(error)["controller"]
        with pytest.raises(NumericsError, match="not finite"):
            run.last_good_state(error)
