"""What a run remembers of its settings, and what may be changed when it goes on."""

from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.keys import flatten
from prorl_mega.config.recipe import KLEstimator
from prorl_mega.config.schema import Recompute, RunConfig, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.settings import MAY_CHANGE, changes_on_resume, fingerprint, to_plain, write_settings


def config() -> RunConfig:
    task = TaskConfig(name="sums", options={"digits": 2, "api_key": "k-123", "max_tokens": 7})
    return RunConfig(name="demo", tasks=TasksConfig(mixture={"easy": task}))


def change(target: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        target = target[parent] if isinstance(target, dict) else getattr(target, parent)
    setattr(target, last, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule.steps", 9000),
        ("schedule.keep_checkpoints", 9),
        ("evaluation.samples", 4),
        ("cluster.nodes", 9),
        ("model.recompute", Recompute.full),
        ("name", "moved"),
    ],
)
def test_what_may_change_is_reported_and_leaves_the_fingerprint_alone(tmp_path: Path, key: str, value: Any) -> None:
    write_settings(tmp_path / "config.yaml", config())
    changed = config()
    change(changed, key, value)
    assert [each.split(":")[0] for each in changes_on_resume(tmp_path / "config.yaml", changed)] == [key]
    assert fingerprint(changed) == fingerprint(config())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2),
        ("recipe.kl.estimator", KLEstimator.k1),
        ("model.path", "/other"),
        ("parallel.tensor", 2),
        ("optimizer.learning_rate", 1.0),
        ("schedule.reset.every", 3),
        ("tasks.mixture.easy.weight", 2.0),
        ("rollout.temperature", 0.5),
    ],
)
def test_what_must_not_change_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    write_settings(tmp_path / "config.yaml", config())
    changed = config()
    change(changed, key, value)
    with pytest.raises(ConfigError, match=rf"  {key}: .* before, .* now") as caught:
        changes_on_resume(tmp_path / "config.yaml", changed)
    assert "schedule.steps" in str(caught.value)
    assert fingerprint(changed) != fingerprint(config())


def test_equal_settings_are_equal_after_a_round_trip(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.yaml", config())
    assert changes_on_resume(tmp_path / "config.yaml", config()) == []


def test_a_setting_that_is_newer_than_the_run_counts_as_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_settings(path, config())
    path.write_text("".join(line for line in path.read_text().splitlines(True) if " clamp" not in line))
    assert changes_on_resume(path, config()) == []


def test_secrets_are_not_written(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.yaml", config())
    text = (tmp_path / "config.yaml").read_text()
    assert "k-123" not in text
    assert "api_key: (hidden)" in text
    assert "max_tokens: 7" in text


def test_every_setting_that_may_change_exists() -> None:
    keys = set(flatten(to_plain(RunConfig())))
    for free in MAY_CHANGE:
        assert any(key == free or key.startswith(free + ".") for key in keys), free


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", ""])
def test_a_broken_settings_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        changes_on_resume(tmp_path / "config.yaml", config())
