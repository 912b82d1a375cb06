"""The settings of a run on disk."""

import math
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig
from prorl_mega.documents import LARGEST_YAML, MOST_NODES
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


@pytest.mark.parametrize(
    "text", ["0123456789abcdef" * 10, "1" * 200, "1_0:20" * 40, "+" * 150, "\x85\u2028\ufeff", "1:30:30"]
)
def test_texts_that_look_like_numbers_are_read_back(tmp_path: Path, text: str) -> None:
    settings = RunConfig(tasks=TasksConfig(mixture={"easy": TaskConfig(name="sums", options={"x": text})}))
    write_settings(tmp_path / "config.yaml", settings)
    assert read_tree(tmp_path / "config.yaml") == to_plain(settings)


@pytest.mark.parametrize(
    "options", [{"x": ["y"] * MOST_NODES}, {"x": "y" * LARGEST_YAML}, {"x": math.inf}, {"x": 10**40}]
)
def test_settings_that_could_not_be_read_back_are_refused_at_the_start(tmp_path: Path, options: dict[str, Any]) -> None:
    settings = RunConfig(tasks=TasksConfig(mixture={"easy": TaskConfig(name="sums", options=options)}))
    with pytest.raises(ConfigError, match="a run that shall go on later"):
        write_settings(tmp_path / "config.yaml", settings)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", ""])
def test_a_broken_settings_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_tree(tmp_path / "config.yaml")
