"""The settings of a run on disk."""

from pathlib import Path

import pytest

from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.settings import read_tree, to_plain, with_defaults, write_settings


def config() -> RunConfig:
    task = TaskConfig(name="sums", options={"digits": 2, "api_key": "k-123", "max_tokens": 7})
    return RunConfig(name="demo", tasks=TasksConfig(mixture={"easy": task}))


def test_equal_settings_are_equal_after_a_round_trip(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.yaml", config())
    assert read_tree(tmp_path / "config.yaml") == to_plain(config())


def test_a_setting_that_is_newer_than_the_run_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_settings(path, config())
    newer = (" clamp", " weight:", " offload")
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if not any(key in line for key in newer))
    )
    assert read_tree(path) != to_plain(config())
    assert with_defaults(read_tree(path)) == to_plain(config())


def test_secrets_are_not_written(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.yaml", config())
    text = (tmp_path / "config.yaml").read_text()
    assert "k-123" not in text
    assert "api_key: (hidden)" in text
    assert "max_tokens: 7" in text


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", ""])
def test_a_broken_settings_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_tree(tmp_path / "config.yaml")
