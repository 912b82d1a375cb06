"""Trackers get a run's name, settings, numbers and decisions, go on with it, and never end it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_run import Toy, toy_config
from helpers.tracked import READERS, Tracked

from prorl_mega.config.schema import TaskConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError
from prorl_mega.run import tracker
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.loggers import logger_types
from prorl_mega.run.mlflow import mlflow_name
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.types import Decision, Event

INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(name), reason=f"NOT RUN: no {name}, which cpu.lock has"))
    for name in READERS
]
OWN = """
import time
from prorl_mega.run.tracker import Tracker

class Own(Tracker):
    folder = "own"
    fails = set()
    got = []
    known = []

    def start(self, name, settings, known):
        self.maybe("start")
        self.known.append(known)
        return known or "id7"

    def log(self, step, metrics):
        self.maybe("log")
        self.got.append((step, metrics))

    def note(self, step, title, text):
        self.got.append((step, title, text))

    def finish(self):
        self.maybe("finish")
        self.got.append("finished")

    def maybe(self, what):
        if what in self.fails:
            raise OSError(28, f"No space left\\x1b[31m on {what}")
        if f"hang in {what}" in self.fails:
            time.sleep(600)
        if f"exit in {what}" in self.fails:
            raise SystemExit(3)
"""


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_PROJECT", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    yield
    sys.modules.pop("own_tracker", None)


@pytest.fixture(autouse=True, scope="module")
def _one_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trackio reads its place when it is imported, once per process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield


def attempt(root: Path, logger: str, steps: int, name: str, value: float) -> None:
    """Steps up to `steps`, of which the third is saved, with a reset after the second of the attempt."""
    config = toy_config(root, 99)
    config.name, config.loggers = name, [logger]
    config.tasks.mixture["sums"] = TaskConfig(name="sums", options={"api_key": "sk-secret"})
    toy = Toy()
    with TrainingRun(config, Ranks.alone()) as run:
        done = run.resume(toy.restore)
        if not done:
            run.before_training({"evaluation/pass@8": 0.25})
        for step in range(done + 1, steps + 1):
            with run.step(step) as log:
                log.add({"reward/mean": value + step, "length/max": float("nan") if step == 2 else 1.0})
                if step in (2, 6):
                    log.decide(Decision(reset_reference=True, events=(_event("reset", step), _event("wait", step))))
            if step == 3:
                run.save(step, toy.save)


def _event(action: str, step: int) -> Event:
    return Event(trigger="plateau", action=action, text=f"{action} <b>\x1b[2J at {step}")


def read(tracker_name: str, root: Path, name: str) -> Tracked:
    (found,) = [each for each in READERS[tracker_name](root / name) if each.name == name]
    return found


@pytest.mark.parametrize("name", INSTALLED)
def test_a_run_that_goes_on_is_one_run_with_every_step_once(tmp_path: Path, name: str) -> None:
    attempt(tmp_path, name, 5, f"toy-{name}", 0.0)
    first = read(name, tmp_path, f"toy-{name}")
    assert first.series("reward/mean") == [(step, float(step)) for step in range(1, 6)]
    attempt(tmp_path, name, 7, f"toy-{name}", 0.5)  # from step 4 on again
    found = read(name, tmp_path, f"toy-{name}")
    assert found.id == first.id
    rewards = [(step, step + (0.5 if step > 5 else 0.0)) for step in range(1, 8)]
    assert found.series("reward/mean") == rewards, "steps 4 and 5 as they were the first time"
    assert found.series("evaluation/pass@8") == [(0, 0.25)]
    assert found.series("decisions/reset") == found.series("decisions/wait") == [(2, 1.0), (6, 1.0)]
    assert [step for step, value in found.series("length/max") if value == 1.0] == [1, 3, 4, 5, 6, 7]
    notes = "\n".join(sorted(found.notes))
    assert notes.count("reset <b>") == 2, "what was decided, and nothing of what was not done"
    assert "at 2" in notes
    assert "at 6" in notes
    assert "Went on after step 3: points of steps 4 to 5 are of before." in notes
    assert "\x1b" not in notes
    assert "wait <b>" not in notes
    assert str(found.settings["seed"]) == "1"
    assert str(found.settings["recipe.kl.coef"]) == str(toy_config(tmp_path, 1).recipe.kl.coef)
    assert "sk-secret" not in str(found)
    assert "(hidden)" in str(found.settings)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_run_that_starts_afresh_is_another_run(tmp_path: Path, name: str) -> None:
    for value in (0.0, 0.5):
        attempt(tmp_path, name, 2, f"new-{name}", value)  # ends before its first checkpoint
    found = [each for each in READERS[name](tmp_path / f"new-{name}") if each.name.startswith(f"new-{name}")]
    series = sorted(each.series("reward/mean") for each in found)
    assert series == [[(1, 1.0), (2, 2.0)], [(1, 1.5), (2, 2.5)]]


@pytest.mark.parametrize("name", READERS)
def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"loggers={name} needs the package {name}.*, .* -m pip install {name}"):
        logger_types([name])


def own(root: Path) -> Any:
    (root / "own_tracker.py").write_text(OWN)
    (kind,) = logger_types([f"{root}/own_tracker.py:Own"])
    return kind


@pytest.mark.parametrize("fails", ["start", "log", "finish", "exit in start", "exit in log"])
def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(
    tmp_path: Path, fails: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own(tmp_path).fails.add(fails)
    attempt(tmp_path, f"{tmp_path}/own_tracker.py:Own", 5, "toy", 0.0)
    assert [row["step"] for row in read_rows(tmp_path / "toy" / "metrics.jsonl")] == [0, 1, 2, 3, 4, 5]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loggers: own")]
    assert len(said) == 1
    assert "\x1b" not in said[0]
    assert "the run goes on" in said[0]


@pytest.mark.parametrize("fails", ["start", "log", "finish"])
def test_a_tracker_that_hangs_does_not_hold_the_run_up(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracker, "CLOSING_S", 0.3)
    monkeypatch.setattr(tracker, "_WAITING", 3)
    own(tmp_path).fails.add(f"hang in {fails}")
    started = time.monotonic()
    attempt(tmp_path, f"{tmp_path}/own_tracker.py:Own", 7, "toy", 0.0)
    assert time.monotonic() - started < 60
    assert [row["step"] for row in read_rows(tmp_path / "toy" / "metrics.jsonl")][-1] == 7
    assert "loggers: own" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"id": "../../etc"}', '{"step": 1e999}', '{"id": "x\\n", "step": 2}'])
def test_what_is_left_of_an_attempt_is_not_trusted(tmp_path: Path, content: str) -> None:
    kind = own(tmp_path)
    attempt(tmp_path, f"{tmp_path}/own_tracker.py:Own", 4, "toy", 0.0)
    kind.got.clear()
    (tmp_path / "toy" / "own" / "tracked.json").write_text(content)
    attempt(tmp_path, f"{tmp_path}/own_tracker.py:Own", 5, "toy", 0.0)
    assert [each[0] for each in kind.got if each != "finished"] == [4, 5]
    assert kind.known == [None, None]


def test_names_of_mlflow() -> None:
    assert mlflow_name("evaluation/pass@16") == "evaluation/pass_at_16"
    assert mlflow_name("tasks.mixture.a[0]:é$") == "tasks.mixture.a_0__é_"
