"""Backtest of a run's numbers: the same decisions with the same settings, others with others, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.histories import scores

from prorl_mega.backtest import backtest, differences, read_config
from prorl_mega.config.schedule import ResetConfig, ScheduleConfig
from prorl_mega.config.schema import ModelConfig, RunConfig
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.recipe.control import ProRLController
from prorl_mega.run.decisions import append_decisions, read_decisions
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.metrics import append_metrics
from prorl_mega.run.settings import write_settings
from prorl_mega.types import Event

PROGRAM = "import sys, runpy; sys.modules['torch'] = None; runpy.run_module('prorl_mega.backtest', run_name='__main__')"
HISTORY = scores(0.1, 0.2, 0.3, 0.3, 0.3, float("nan"), 0.3, 0.2, 0.2, 0.2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory as the loop leaves it."""
    schedule = ScheduleConfig(reset=ResetConfig(patience=2, min_distance=1))
    config = RunConfig(name="x", model=ModelConfig(path="absent"), schedule=schedule)
    controller = ProRLController(config)
    write_settings(tmp_path / "config.yaml", config)
    for step, each in enumerate(HISTORY, 1):
        decision = controller.observe(step, each)
        append_decisions(tmp_path / "decisions.jsonl", step, decision.events)
        append_metrics(tmp_path / "metrics.jsonl", step, each | decision.metrics)
    return tmp_path


def start(run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(run / "metrics.jsonl"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def backtested(run: Path, *overrides: str) -> list[tuple[int, Event]]:
    config = read_config(run / "metrics.jsonl", list(overrides))
    return list(backtest(config, read_rows(run / "metrics.jsonl")))


def test_the_same_settings_give_the_log(run: Path) -> None:
    logged = list(read_decisions(run / "decisions.jsonl"))
    assert [(step, event.action) for step, event in logged] == [(5, "reset"), (6, "warn"), (8, "reset"), (10, "reset")]
    assert backtested(run) == logged, "numbers, limits and words included"


def test_other_thresholds(run: Path) -> None:
    assert [step for step, event in backtested(run, "schedule.reset.patience=3") if event.action == "reset"] == [7, 10]
    assert [step for step, event in backtested(run, "schedule.reset.patience=0") if event.action == "reset"] == []
    staged = backtested(run, "schedule.stages=[{steps: 4}, {}]", "schedule.reset.patience=0")
    assert [(step, event.action) for step, event in staged] == [(4, "next_stage"), (4, "reset"), (6, "warn")]


def test_settings_of_an_experiment(run: Path) -> None:
    config = read_config(run / "metrics.jsonl", ["experiment=demo", "schedule.reset.every=50"])
    assert (config.name, config.schedule.reset.every) == ("backtest", 50)


def test_differences() -> None:
    def event(trigger: str) -> Event:
        return Event(trigger=trigger, action="reset", text=trigger)

    logged = [(1, event("a")), (2, event("b")), (4, event("c"))]
    found = list(differences(logged, [(1, event("a")), (3, event("b")), (4, event("c")), (4, event("c"))]))
    assert [(mark, step) for mark, step, _ in found] == [("=", 1), ("-", 2), ("+", 3), ("=", 4), ("+", 4)]
    assert list(differences(logged, logged)) == [("=", step, each) for step, each in logged]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.reset.patiencee=3"], r"schedule\.reset\.patiencee: no such setting; did you mean .*patience"),
        (["schedule.reset.patience=x"], r"schedule\.reset\.patience: .*'x'.*whole number"),
        (["patience"], r"patience: not an override; write <setting>=<value>"),
        (["schedule.entropy.low=2", "schedule.entropy.high=1"], r"entropy\.high=1 is not above"),
        (["experiment=dmeo"], r"did you mean demo\?"),
        (["schedule.stages=[{recipe: {kl_cof: 1}}]"], r"schedule\.stages\[0\]\.recipe\.kl_cof: no such setting"),
    ],
)
def test_settings_that_cannot_work(overrides: list[str], message: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(run / "metrics.jsonl", overrides)


def test_command_line_without_torch(run: Path) -> None:
    same = start(run, "--check")
    assert same.returncode == 0, same.stderr
    assert same.stdout.count("\n= step") + same.stdout.startswith("= step") == 4
    assert "10 steps: 4 as logged, 0 only here, 0 only in the log" in same.stdout
    other = start(run, "--check", "schedule.reset.patience=3")
    assert other.returncode == 1, other.stderr
    assert "+ step      7  reset       plateau" in other.stdout
    lines = [json.loads(line) for line in start(run, "--json").stdout.splitlines()]
    assert lines[0]["numbers"] == {"score": 0.3, "best": 0.3, "best_step": 3, "evaluations": 2}
    assert lines[0]["limits"] == {"patience": 2, "min_delta": 0.0}
    missing = start(run / "nowhere")
    assert missing.returncode == ExitCode.CONFIG
    assert "is not a file" in missing.stderr
    assert "schedule.reset.patience" in start(run, "--help").stdout
