"""The other files of a run directory, with content that no run writes: named, or done again, never believed."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.recorded_run import record_run

from prorl_mega import backtest
from prorl_mega.errors import ConfigError, DataError, ExitCode
from prorl_mega.report import main as report
from prorl_mega.reporting.arms import read_finished_run
from prorl_mega.run.evaluations import read_evaluation
from prorl_mega.run.metrics import append_metrics, cut_metrics
from prorl_mega.run.settings import read_tree

DEEP = '{"label": ' + "[" * 100_000
GOOD = {"label": "base", "step": 3, "settings": {}, "metrics": {"evaluation/pass@1": 0.25, "x": None},
        "problems": [{"key": "a/1", "task": "a", "samples": 4, "solved": 1, "mean_reward": 0.25}]}  # fmt: skip

UNSCORED = GOOD | {"problems": [{"key": "a/1", "task": "a", "samples": 0, "solved": 0, "mean_reward": None}]}


def with_row(number: int, **values: Any) -> Callable[[list[str]], None]:
    """A change that gives the row of a step other values; NaN and infinity are written as Python spells them."""

    def change(lines: list[str]) -> None:
        lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | values)

    return change


def with_line(step: int, text: str) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(step - 1, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_row(2, **{"reward/mean": "high"}), r":2: reward/mean='high' must be a number or null"),
        (with_row(2, **{"reward/mean": [1]}), r":2: reward/mean=\[1\] must be a number or null"),
        (with_row(2, **{"reward/mean": True}), r":2: reward/mean=True must be a number or null"),
        (with_row(2, **{"reward/mean": 10**400}), r":2: reward/mean=10+… .* must be a number or null"),
        (with_row(2, **{"reward/mean": float("inf")}), r":2: not a row of a step"),
        (with_line(2, '{"step": 2, "a": 1e999}'), r":2: not a row of a step"),
        (with_line(2, DEEP), r":2: not a row of a step"),
        (with_line(2, "some text"), r":2: not a row of a step"),
        (with_row(2, step=True), r":2: not a row of a step"),
        (with_row(2, step=-2), r":2: not a row of a step"),
        (with_row(2, step=10**30), r":2: not a row of a step"),
        (with_row(3, step=2), r":3: step 2 after step 2; steps rise"),
        (with_row(2, step=3), r":3: step 3 after step 3; steps rise"),
        (with_row(6, **{"reference/resets": 1000}), r":6: reference/resets=1000 must be a number of resets in 6 steps"),
        (with_row(6, **{"reference/resets": -1}), r":6: reference/resets=-1 must be .*"),
        (with_row(6, **{"reference/resets": 0.5}), r":6: reference/resets=0\.5 must be .*"),
    ],
    ids=itertools.count(),
)
def test_rows_that_a_run_goes_on_from(tmp_path: Path, change: Callable[[list[str]], None], message: str) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 7):
        append_metrics(path, step, {"reward/mean": 0.5, "policy/kl": float("nan"), "reference/resets": step // 5})
    assert cut_metrics(path, 6) == {"reward/mean": 0.5, "reference/resets": 1.0}, "as they are they are fine"
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"metrics\.jsonl{message}; put the file back as it was, or remove the line"):
        cut_metrics(path, 6)
    assert path.read_bytes() == before


def test_rows_beyond_the_checkpoint_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 2.5}\n{"step": 2, "a": "x"}\nhalf a li')
    assert cut_metrics(path, 1) == {"a": 2.5}
    assert path.read_text() == '{"step": 1, "a": 2.5}\n'


def put(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: Any) -> None:
        for part in path[:-1]:
            value = value[part]
        value[path[-1]] = to

    return change


def test_an_evaluation_is_read(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(GOOD))
    assert read_evaluation(tmp_path / "base.json") == GOOD
    (tmp_path / "base.json").write_text(json.dumps(UNSCORED))
    assert read_evaluation(tmp_path / "base.json") == UNSCORED
    old = {key: value for key, value in GOOD.items() if key != "settings"}
    (tmp_path / "base.json").write_text(json.dumps(old))
    assert read_evaluation(tmp_path / "base.json") == GOOD


@pytest.mark.parametrize(
    "change",
    [
        put("step", to=-1), put("step", to="3"), put("step", to=1.5), put("step", to=10**30), put("step", to=True),
        put("label", to=None), put("settings", to=[]), put("metrics", to=[]),
        put("metrics", "evaluation/pass@1", to="high"), put("metrics", "evaluation/pass@1", to=float("inf")),
        put("problems", to={}), put("problems", 0, to=7), put("problems", 0, "key", to=[]),
        put("problems", 0, "samples", to=float("nan")),
        put("problems", 0, "solved", to=5), put("problems", 0, "solved", to=-1), put("problems", 0, "solved", to="1"),
        put("problems", 0, "mean_reward", to="x"), put("problems", 0, "completion", to=7),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_an_evaluation_that_no_run_writes_is_done_again(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    content = json.loads(json.dumps(GOOD))
    change(content)
    (tmp_path / "base.json").write_text(json.dumps(content))
    assert read_evaluation(tmp_path / "base.json") is None


@pytest.mark.parametrize("content", [DEEP.encode(), b"\xff", b"[]", b"", b"9" * 9999, b"[" * 5_000_000])
def test_evaluations_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "base.json").write_bytes(content)
    started = time.process_time()
    assert read_evaluation(tmp_path / "base.json") is None
    assert time.process_time() - started < 5


LAUGHS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
LINES = ['{"step": 1, "reward/mean": "x"}', '{"step": 1e999}', '{"step": 10e400, "a": 1}', DEEP, '{"step": true}',
         '{"step": 3, "trigger": "settings", "action": "change", "key": "seed", "before": [[[]]], "after": {}}',
         '{"step": 3, "trigger": "settings", "action": "change", "key": "a.b[9].c", "before": 1, "after": 2}',
         '{"step": 3, "trigger": "every", "action": "reset", "numbers": 7, "limits": null, "text": 5}',
         '{"step": 2, "policy/kl": "x"}', '{"step": 2, "evaluation/pass@1": {}}', '{"step": -5, "a": 1}',
         f'{{"step": 2, "policy/entropy": {10**400}}}', '{"step": 4294967296, "reward/mean": 1}']  # fmt: skip
SETTINGS = (LAUGHS, DEEP, "[]", b"\xff", "seed: [1]", "schedule: 3", "tasks: {mixture: 1}", "schedule: {stages: [7]}",
            "a: &a [*a]", "model: {path: [1]}", "1: 2", "optimizer: {learning_rate: .nan}")  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("recorded") / "run"
    record_run(run, 12)
    return run


def backtested(run: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["backtest", str(run / "metrics.jsonl")])
    return backtest.main()


@pytest.mark.parametrize("line", LINES, ids=itertools.count())
def test_a_line_of_metrics_or_decisions(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """A backtest does without it where a crash can have left it, and says in a sentence what it cannot judge."""
    run = Path(shutil.copytree(recorded, tmp_path / "run"))
    for name in ("decisions.jsonl", "metrics.jsonl"):
        with (run / name).open("a") as file:
            file.write(line + "\n")
        assert backtested(run, monkeypatch) in (0, ExitCode.CONFIG, ExitCode.DATA)
        read_finished_run(run)
    assert all(len(each) < 2000 for each in capsys.readouterr().err.splitlines())


def test_the_report_does_without_what_is_broken(recorded: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded, tmp_path / "run"))
    for name in ("metrics.jsonl", "decisions.jsonl", "samples/step_000012.jsonl"):
        with (run / name).open("a") as file:
            file.write("\n".join([*LINES, '{"prompt": [], "completion": {}, "reward": "x"}', ""]))
    (run / "samples" / "step_²³.jsonl").write_text('{"step": 1}')
    (run / "evaluation" / "final.json").write_text(DEEP)
    assert report([str(run)]) == 0
    (run / "evaluation" / "final.json").write_text(json.dumps(GOOD))
    assert report([str(run)]) == 0


@pytest.mark.parametrize("content", SETTINGS, ids=itertools.count())
def test_settings_of_a_run(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes
) -> None:
    run = Path(shutil.copytree(recorded, tmp_path / "run"))
    (run / "config.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"config\.yaml") as error:
        read_tree(run / "config.yaml")
    assert len(str(error.value)) < 2000
    assert report([str(run)]) == backtested(run, monkeypatch) == ExitCode.CONFIG
    with pytest.raises(ConfigError):
        read_finished_run(run)
    assert time.process_time() - started < 10


def test_settings_that_a_run_writes_are_read(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 2)
    assert read_tree(tmp_path / "run" / "config.yaml") == yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
