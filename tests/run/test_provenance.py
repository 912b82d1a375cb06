"""The origin of results, which people publish with them."""

from __future__ import annotations

import sys

import pytest

from prorl_mega.run.provenance import provenance


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("+tasks.mixture.mine.options.api_key=s3cr3t", "+tasks.mixture.mine.options.api_key=(hidden)"),
        ("+tasks.mixture.mine.options={api_key: s3cr3t, path: a}", "mine.options={api_key: (hidden), path: a}"),
        ("+a={b: {'password': 's3,cr3t'}, c: 1}", "password"),
        ("evaluation.server.key_env=MY_KEY", "key_env=MY_KEY"),
        ("rollout.max_prompt_tokens=128", "rollout.max_prompt_tokens=128"),
        ("model.path=/models/token=1", "model.path=/models/token=1"),
    ],
)
def test_the_command_has_no_secret(monkeypatch: pytest.MonkeyPatch, argument: str, shown: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", argument])
    command = provenance()["command"]
    assert shown in command
    assert "cr3t" not in command
