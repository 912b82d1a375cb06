"""Settings of version 0.1: who writes an old name is told the new one, and old runs are read under the new names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.settings import model_directory, run_config
from hydra.errors import HydraException
from omegaconf import OmegaConf

from prorl_mega.config.compose import sweep_name, to_objects
from prorl_mega.config.keys import flatten, setting_keys
from prorl_mega.config.messages import explain
from prorl_mega.config.renamed import RENAMED, translated
from prorl_mega.config.schema import ModelConfig, RunConfig, TaskConfig, TasksConfig, WarmstartConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.changes import changes, in_force, read_in_force
from prorl_mega.run.settings import read_settings, to_plain

OLD = Path(__file__).with_name("version_0_1.yaml")
"""config.yaml as version 0.1 wrote it; everything under `recipe` and `schedule.entropy` differs from its default."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("renamed") / "model")


def old_tree() -> dict[str, Any]:
    tree = yaml.safe_load(OLD.read_text("utf-8"))
    assert isinstance(tree, dict)
    return tree


def read(tree: dict[str, Any]) -> RunConfig:
    return to_objects(OmegaConf.merge(OmegaConf.structured(RunConfig), translated(tree)), RunConfig)  # type: ignore[arg-type]


def test_every_new_name_exists_and_no_old_one_does() -> None:
    known = setting_keys(RunConfig) | setting_keys(WarmstartConfig)
    assert set(RENAMED.values()) <= set(known)
    assert set(RENAMED) & set(known) == {"recipe.advantage"}, "the only one that names a group now"


def test_every_old_setting_arrives_with_its_value() -> None:
    old, new = flatten(old_tree()), flatten(to_plain(read(old_tree())))
    new.pop("schedule.stages"), old.pop("schedule.stages")
    for name in ("lever", "lever_min", "lever_max"):  # there is a target, which moved the entropy coefficient
        del old[f"schedule.entropy.{name}"]
    assert new["schedule.entropy.knob"] == "entropy_coef"
    carried = {RENAMED.get(key, key): value for key, value in old.items()}
    assert {key: new[key] for key in carried} == carried
    tasks = TasksConfig(mixture={"sums": TaskConfig(name="x")})
    later = flatten(to_plain(RunConfig(name="x", model=ModelConfig(path="x"), tasks=tasks)))
    assert all(new[key] == later[key] for key in set(new) - set(carried)), "what came after 0.1 has its default"
    assert set(flatten(old_tree())) >= set(RENAMED) - {"label_noise", "slips", "recipe.correction"}


def test_the_bounds_of_a_target_are_the_knobs_where_there_was_one() -> None:
    tree = old_tree()
    tree["schedule"]["entropy"]["target"] = 0.0
    entropy = read(tree).schedule.entropy
    assert (entropy.knob.name, entropy.knob_min, entropy.knob_max) == ("temperature", 40.0, 41.0)
    later = {"schedule": {"entropy": {"target": 0.5, "knob": "temperature", "knob_min": 0.7, "coef_min": -0.1}}}
    assert translated(later)["schedule"]["entropy"] == {
        "target": 0.5, "knob": "entropy_coef", "knob_min": -0.1, "knob_max": 0.01,
    }  # fmt: skip


def test_stages_of_an_old_run() -> None:
    first, second = read(old_tree()).schedule.stages
    assert first.recipe == {
        "samples_per_prompt": 8,
        "advantage": {"estimator": "rloo"},
        "policy_loss": {"clip_low": 0.1},
        "kl": {"coef": 0.5},
        "importance_sampling": {"kind": "mis"},
    }
    assert second.rollout == {"temperature": 0.9}


def test_todays_settings_stay_as_they_are() -> None:
    today = to_plain(read(old_tree()))
    assert translated(today) == today


def test_an_old_run_is_resumed_with_the_same_settings(tmp_path: Path) -> None:
    shutil.copyfile(OLD, tmp_path / "config.yaml")
    checkpoint = tmp_path / "checkpoints" / "step_000001"
    before = read_in_force(checkpoint)
    config = read(old_tree())
    assert changes(before, in_force(config), stage=0, step=1, where=checkpoint) == []
    config.recipe.kl.coef = 0.25
    (change,) = changes(before, in_force(config), stage=0, step=1, where=checkpoint)
    assert (change.key, change.after) == ("recipe.kl.coef", 0.25)
    assert read_settings(OLD)["recipe.advantage.estimator"] == old_tree()["recipe"]["advantage"]


@pytest.mark.parametrize("old", [key for key in RENAMED if key.startswith(("recipe.", "schedule."))])
def test_an_old_name_on_the_command_line(old: str, model: Path) -> None:
    with pytest.raises(HydraException) as caught:
        run_config(model, f"{old}=1")
    group = old if not old.startswith("recipe.correction.") else "recipe.correction"
    assert f"{group} is now {RENAMED[group]}" in explain(caught.value, RunConfig)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("{recipe: {clip_low: 0.1}}", "recipe.clip_low is now recipe.policy_loss.clip_low"),
        ("{recipe: {advantage: rloo}}", "recipe.advantage is now recipe.advantage.estimator"),
        ("{recipe: {correction: {cap: 3}}}", "recipe.correction.cap is now recipe.importance_sampling.cap"),
    ],
)
def test_an_old_name_in_a_stage(stage: str, message: str, model: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_config(model, f"schedule.stages=[{stage}]")
    assert str(caught.value) == f"schedule.stages[0].{message}"


def test_an_old_name_in_a_file(tmp_path: Path, model: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nrecipe:\n  advantage: rloo\n")
    with pytest.raises(HydraException) as caught:
        run_config(model, f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert "recipe.advantage is now recipe.advantage.estimator" in explain(caught.value, RunConfig)


def test_sweeps_find_the_directories_of_version_0_1() -> None:
    assert sweep_name("demo", ["recipe.kl.coef=1e-3"]) == "demo--kl_coef_1e-3"
