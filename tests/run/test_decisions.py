"""decisions.jsonl: what the controller decided, and the settings that were changed when the run went on."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import yaml

from prorl_mega.run.decisions import SettingChange, go_on, read_changes, read_decisions
from prorl_mega.run.jsonl import read_rows


def rows(path: Path) -> Iterator[tuple[int, str]]:
    return ((row["step"], row.get("key", row["trigger"])) for row in read_rows(path))


def test_changes_are_recorded_once_and_beside_decisions(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(
        '{"step": 5, "trigger": "every", "action": "reset", "numbers": {}, "limits": {}, "text": "r"}\n'
        '{"step": 9, "trigger": "every", "action": "reset", "numbers": {}, "limits": {}, "text": "r"}\n'
    )
    rate = SettingChange(step=9, key="optimizer.learning_rate", before=2e-6, after=1e-6)
    go_on(path, 9, [rate])
    go_on(path, 9, [rate])  # a crash right after the change, and again
    assert list(rows(path)) == [(5, "every"), (9, "every"), (9, "optimizer.learning_rate")]
    assert [step for step, _ in read_decisions(path)] == [5, 9], "the controller decided nothing about it"
    assert read_changes(path) == [rate]
    go_on(path, 9, [])  # set back before a step was done with it
    assert list(rows(path)) == [(5, "every"), (9, "every")]
    go_on(path, 9, [rate])
    go_on(path, 12, [dataclasses.replace(rate, step=12, before=1e-6, after=3e-6)])
    go_on(path, 8, [dataclasses.replace(rate, step=8, after=3e-6)])  # the checkpoints after it were damaged
    assert list(rows(path)) == [(5, "every"), (8, "optimizer.learning_rate")]


def test_values_that_json_lacks_are_text(tmp_path: Path) -> None:
    before = yaml.safe_load("2024-05-01")
    go_on(tmp_path / "d", 1, [SettingChange(step=1, key="a", before=before, after=None)])
    (read,) = read_changes(tmp_path / "d")
    assert (read.before, read.text) == ("2024-05-01", "a: 2024-05-01 -> (none)")
