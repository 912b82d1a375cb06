"""A run that goes on with changed settings: what was changed stands in its directory, once, whatever happens."""

from pathlib import Path
from typing import Any

import pytest
from helpers.toy_run import Toy, toy_config

from prorl_mega.config.keys import with_settings
from prorl_mega.config.schema import RunConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError
from prorl_mega.run.decisions import read_changes
from prorl_mega.run.run_directory import TrainingRun


def resumed(config: RunConfig, steps: int) -> list[tuple[int, Any, Any]]:
    """Open the toy run, do `steps` steps and save the last; step, value before and after of the recorded changes."""
    toy = Toy()
    with TrainingRun(config, Ranks.alone()) as run:
        done = run.resume(toy.restore)
        for step in range(done + 1, done + 1 + steps):
            with run.step(step) as log:
                log.add({"reward/mean": toy.advance()})
            run.save(step, toy.save)
    changes = read_changes(run.directory / "decisions.jsonl")
    return [(change.step, change.before, change.after) for change in changes if change.key == "recipe.kl.coef"]


def test_a_change_is_recorded_for_the_steps_that_are_done_with_it(tmp_path: Path) -> None:
    first = toy_config(tmp_path, 20, keep_checkpoints=9)
    higher = with_settings(first, {"recipe.kl.coef": 0.5})
    assert resumed(first, 3) == []
    for steps in (0, 0, 2):  # the first two end before anything is saved
        assert resumed(higher, steps) == [(3, 0.0001, 0.5)]
    assert "coef: 0.5" in (tmp_path / "toy" / "config.yaml").read_text()
    console = (tmp_path / "toy" / "console.log").read_text()
    assert console.count("changed setting: recipe.kl.coef: 0.0001 -> 0.5, from step 4 on") == 3
    assert resumed(higher, 0) == [(3, 0.0001, 0.5)], "nothing has changed since step 5"
    assert resumed(first, 0) == [(3, 0.0001, 0.5), (5, 0.5, 0.0001)]
    assert resumed(higher, 1) == [(3, 0.0001, 0.5)], "set back before a step was done without it"
    for step in (4, 5, 6):
        (tmp_path / "toy" / "checkpoints" / f"step_{step:06d}" / "state.json").write_text("{}")
    assert resumed(first, 1) == [], "the steps with it are gone"
    assert resumed(higher, 1) == [(4, 0.0001, 0.5)]


def test_a_refused_resume_leaves_settings_and_record_alone(tmp_path: Path) -> None:
    first = toy_config(tmp_path, 20)
    resumed(first, 3)
    resumed(with_settings(first, {"recipe.kl.coef": 0.5}), 2)
    before = [(tmp_path / "toy" / name).read_text() for name in ("config.yaml", "decisions.jsonl")]
    with pytest.raises(ConfigError, match="seed"):
        resumed(with_settings(first, {"recipe.kl.coef": 0.7, "seed": 4}), 0)
    with TrainingRun(with_settings(first, {"recipe.kl.coef": 0.7}), Ranks.alone()):
        pass  # what is built next refused something: a data file, a model that does not fit
    assert [(tmp_path / "toy" / name).read_text() for name in ("config.yaml", "decisions.jsonl")] == before


def test_a_run_directory_that_was_moved_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resumed(toy_config(Path("here"), 20), 3)
    resumed(toy_config(tmp_path / "here", 20), 0)
    assert read_changes(Path("here/toy/decisions.jsonl")) == []
    (tmp_path / "there").mkdir()
    Path("here/toy").rename("there/renamed")
    moved = toy_config(tmp_path / "there", 20)
    moved.name = "renamed"
    with TrainingRun(moved, Ranks.alone()) as run:
        assert run.resume(Toy().restore) == 3
    changes = read_changes(tmp_path / "there" / "renamed" / "decisions.jsonl")
    assert [change.key for change in changes] == ["name", "root"]
