"""An address that a key and prompts may be sent to."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.settings import model_directory, run_config

from prorl_mega.config.schema import ServerConfig
from prorl_mega.config.server_checks import server_problems
from prorl_mega.errors import ConfigError
from prorl_mega.evaluation.conditions import conditions, incomparable


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000",
        "http://[::1]:8000/v1/",
        "https://api.example.com/v1",
        "https://10.0.0.7:8443/openai/v1",
        None,
    ],
)
def test_addresses_that_work(url: str | None) -> None:
    assert server_problems(ServerConfig(url=url, key_env="MY_KEY")) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://node7:8000/v1", "unencrypted"),
        ("http://localhost.example.com/v1", "unencrypted"),
        ("http://127.0.0.1.example.com/v1", "unencrypted"),
        ("http://2130706433/v1", "unencrypted"),
        ("https://me:secret@host/v1", "holds a password"),
        ("http://127.0.0.1:8000@host/v1", "holds a password"),
        ("ftp://host/v1", "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("host:8000", "is no address"),
        ("https://", "is no address"),
        ("https://host:99999/v1", "is no address"),
        ("https://host/v1?key=secret", "is no address"),
        ("https://host/v1#x", "is no address"),
        ("https://ho st/v1", "is no address"),
        ("https://host\r\nX: y/v1", "is no address"),
        ("https://hоst/v1", "is no address"),  # a Cyrillic o
    ],
)
def test_addresses_that_do_not(url: str, problem: str) -> None:
    (found,) = server_problems(ServerConfig(url=url))
    assert found.startswith("evaluation.server.url")
    assert problem in found
    assert "me:secret" not in found


def test_http_to_another_machine_can_be_allowed() -> None:
    assert server_problems(ServerConfig(url="http://node7:8000/v1", allow_http=True)) == []


def test_a_key_in_place_of_the_variable_s_name_is_not_repeated() -> None:
    (found,) = server_problems(ServerConfig(key_env="sk-abc123"))
    assert "sk-abc123" not in found
    assert "never into the settings" in found


def test_the_settings_of_a_run_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.server\.url=http://node7:8000: .* unencrypted"):
        run_config(model_directory(tmp_path), "evaluation.server.url=http://node7:8000")
    with pytest.raises(ConfigError, match=r"evaluation\.server\.concurrency=0 must be at least 1"):
        run_config(model_directory(tmp_path), "evaluation.server.concurrency=0")


def test_how_a_server_is_asked_does_not_change_what_is_measured(tmp_path: Path) -> None:
    def of(*overrides: str) -> dict[str, object]:
        config = run_config(model_directory(tmp_path), *(f"evaluation.server.{each}" for each in overrides))
        return conditions(config, problems_per_task=4, max_tokens=16)

    assert of("concurrency=3", "timeout_s=9", "retries=0", "key_env=KEY", "allow_http=true") == of()
    assert incomparable(of(), of("url=https://host/v1", "model=m", "api=completions")) == []
