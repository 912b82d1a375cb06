"""Backtest of a run's numbers: the same decisions with the same settings, others with others, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.histories import entropies, scores

from prorl_mega.backtest import Section, backtest, differences, read_course
from prorl_mega.config.keys import with_settings
from prorl_mega.config.schedule import EntropyConfig, KLControlConfig, Knob, ResetConfig, ScheduleConfig, StageConfig
from prorl_mega.config.schema import ModelConfig, RunConfig
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.recipe.control import ProRLController
from prorl_mega.run.changes import InForce, changes
from prorl_mega.run.decisions import append_decisions, go_on, read_decisions
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.metrics import append_metrics
from prorl_mega.run.settings import to_plain, write_settings
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
    course = read_course(run / "metrics.jsonl", list(overrides))
    return list(backtest(course, read_rows(run / "metrics.jsonl")))


def test_the_same_settings_give_the_log(run: Path) -> None:
    logged = list(read_decisions(run / "decisions.jsonl"))
    assert [(step, event.action) for step, event in logged] == [(5, "reset"), (6, "warn"), (8, "reset"), (10, "reset")]
    assert backtested(run) == logged, "numbers, limits and words included"


def test_a_filter_and_a_target_give_the_log(tmp_path: Path) -> None:
    entropy = EntropyConfig(
        low=0.2, high=0.4, half_life=3.0, target=0.3, proportional=1.0, integral=0.1,
        knob=Knob.positive_weight, knob_max=2.0,
    )  # fmt: skip
    config = RunConfig(name="x", model=ModelConfig(path="absent"), schedule=ScheduleConfig(entropy=entropy))
    controller = ProRLController(config)
    write_settings(tmp_path / "config.yaml", config)
    logged, knobs = [], []
    for step, each in enumerate(entropies(*np.random.default_rng(2).normal(0.3, 0.15, 60)), 1):
        decision = controller.observe(step, each)
        logged += [(step, event) for event in decision.events]
        knobs.append(decision.metrics["controller/positive_weight"])
        append_metrics(tmp_path / "metrics.jsonl", step, each | decision.metrics)
    assert len(logged) > 2
    assert len(set(knobs)) > 50
    assert backtested(tmp_path) == logged
    assert backtested(tmp_path, "schedule.entropy.half_life=30") != logged


def test_alarms_are_backtested(tmp_path: Path) -> None:
    config = RunConfig(name="x", model=ModelConfig(path="absent"))
    controller = ProRLController(config)
    write_settings(tmp_path / "config.yaml", config)
    for step in range(1, 41):
        row = {"hack/identical": 0.9 if step > 30 else 0.0, "reward/mean": 0.5, "length/mean": 9.0}
        decision = controller.observe(step, row)
        append_decisions(tmp_path / "decisions.jsonl", step, decision.events)
        append_metrics(tmp_path / "metrics.jsonl", step, row | decision.metrics)
    logged = list(read_decisions(tmp_path / "decisions.jsonl"))
    assert [(step, event.trigger, event.action) for step, event in logged] == [(32, "identical", "warn")]
    assert backtested(tmp_path) == logged
    assert backtested(tmp_path, "schedule.alarms.identical.above=0.95") == []
    assert [event.action for _, event in backtested(tmp_path, "schedule.alarms.identical.action=stop")] == ["stop"] * 5


def test_other_thresholds(run: Path) -> None:
    assert [step for step, event in backtested(run, "schedule.reset.patience=3") if event.action == "reset"] == [7, 10]
    assert [step for step, event in backtested(run, "schedule.reset.patience=0") if event.action == "reset"] == []
    staged = backtested(run, "schedule.stages=[{steps: 4}, {}]", "schedule.reset.patience=0")
    assert [(step, event.action) for step, event in staged] == [(4, "next_stage"), (4, "reset"), (6, "warn")]


def test_settings_of_an_experiment(run: Path) -> None:
    ((step, config),) = read_course(run / "metrics.jsonl", ["experiment=demo", "schedule.reset.every=50"])
    assert step == 0
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
        read_course(run / "metrics.jsonl", overrides)


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


@pytest.fixture
def changed_run(tmp_path: Path) -> Path:
    """A run that went on with other settings after steps 3 and 6: the controller goes on from its state."""
    first = RunConfig(
        name="x",
        model=ModelConfig(path="absent"),
        schedule=ScheduleConfig(
            reset=ResetConfig(patience=9, min_distance=1),
            kl=KLControlConfig(target=0.1),
            stages=[StageConfig(steps=2), StageConfig(steps=9)],
        ),
    )
    second = with_settings(first, {"schedule.reset.patience": 2, "recipe.kl.coef": 0.5})
    stages = [*first.schedule.stages[:1], StageConfig(steps=5), StageConfig(recipe={"kl": {"coef": 0.25}})]
    third = with_settings(second, {"schedule.stages": stages, "optimizer.learning_rate": 1e-9})
    controller, settings, log = ProRLController(first), first, tmp_path / "decisions.jsonl"
    for step, score in enumerate(HISTORY, 1):
        if (config := {4: second, 7: third}.get(step)) is not None:
            state = json.loads(json.dumps(controller.state_dict()))
            controller = ProRLController(config)
            controller.load_state_dict(state)
            before, now = InForce(settings=to_plain(settings), inputs={}), InForce(settings=to_plain(config), inputs={})
            go_on(log, step - 1, changes(before, now, stage=1, step=step - 1, where=tmp_path / "checkpoints" / "x"))
            settings = config
        metrics = score | {"policy/kl": 0.3}
        decision = controller.observe(step, metrics)
        append_decisions(log, step, decision.events)
        append_metrics(tmp_path / "metrics.jsonl", step, metrics | decision.metrics)
    write_settings(tmp_path / "config.yaml", settings)
    return tmp_path


def test_a_run_whose_settings_were_changed(changed_run: Path) -> None:
    logged = list(read_decisions(changed_run / "decisions.jsonl"))
    assert [(step, event.action, event.trigger) for step, event in logged if event.action != "warn"] == [
        (2, "next_stage", "steps"),
        (2, "reset", "stage"),
        (5, "reset", "plateau"),
        (7, "next_stage", "steps"),
        (7, "reset", "stage"),
        (9, "reset", "plateau"),
    ]
    assert backtested(changed_run) == logged
    course = read_course(changed_run / "metrics.jsonl", [])
    assert [(step, config.schedule.reset.patience, config.recipe.kl.coef) for step, config in course] == [
        (0, 9, 1e-4),
        (3, 2, 0.5),
        (6, 2, 0.5),
    ]
    assert [len(config.schedule.stages) for _, config in course] == [2, 2, 3]
    rows = list(read_rows(changed_run / "metrics.jsonl"))
    last = list(backtest([Section(0, course[-1].config)], rows))
    assert last != logged, "the last settings alone would have decided otherwise"
    early = backtested(changed_run, "schedule.reset.patience=1")
    assert (4, "plateau") in [(step, event.trigger) for step, event in early], "an override holds at all steps"


def test_changes_on_the_command_line(changed_run: Path) -> None:
    same = start(changed_run, "--check")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "~ step      3  change      settings      schedule.reset.patience: 9 -> 2\n" in same.stdout
    assert "~ step      6  change      settings      optimizer.learning_rate: 2e-06 -> 1e-09\n" in same.stdout
    (changed_run / "decisions.jsonl").write_text(
        '{"step": 3, "trigger": "settings", "action": "change", "key": "schedule.stages[7].steps", "before": 1}\n'
    )
    broken = start(changed_run)
    assert broken.returncode == ExitCode.CONFIG
    assert "the changes after step 3 do not fit" in broken.stderr
