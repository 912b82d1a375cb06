"""`python -m prorl_mega.tasks`."""

import io

import pytest

from prorl_mega.tasks.__main__ import main


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "reasoning_gym" in capsys.readouterr().out


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command, word in {"list": "--module", "show": "--count", "try": "--answer", "agreement": "fooled"}.items():
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert word in capsys.readouterr().out


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "arithmetic", "max_digits=1", "style=short", "--count", "2"]) == 0
    out = capsys.readouterr().out
    assert "min_terms: int, at least 2 and at most 16 = 2" in out
    assert out.count("--- solution") == 2


def test_show_without_a_required_option_still_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "math"]) == 0
    assert "or hf:owner/name[@revision][/split] = (must be set)" in capsys.readouterr().out


def test_try(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["try", "instruction", "kinds=[uppercase]", "max_constraints=1", "--answer", "CAT"]) == 0
    assert "scored, reward 1" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("cat"))
    assert main(["try", "instruction", "kinds=[uppercase]", "max_constraints=1", "--answer", "-"]) == 0
    assert "scored, reward 0 not followed: uppercase" in capsys.readouterr().out


def test_errors_are_one_line_with_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "arithmetik"]) == 20
    assert "did you mean 'arithmetic'" in capsys.readouterr().err
    assert main(["show", "arithmetic", "digits"]) == 20
    assert main(["show", "math", "path=/nowhere.jsonl"]) == 21
