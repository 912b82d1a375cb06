"""The seconds from a signal to the exit, in every phase of the demo's sizes: at most ten, beyond the saving itself.

make test-faults        or        python -m pytest -s -m faults tests/integration/test_signal_to_exit.py
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import yaml
from helpers.programs import LIMIT_S, Program, metrics

from prorl_mega.errors import ExitCode

pytestmark = pytest.mark.faults
BOUND_S = 10.0
ARGUMENTS = ("experiment=demo", "tasks=small", "schedule.steps=3", "schedule.save_every=1")
HANGING = """
import time
from dataclasses import dataclass
from prorl_mega.tasks.registry import Task, register
from prorl_mega.types import Problem, Verdict

@dataclass(kw_only=True, slots=True)
class NoOptions:
    pass

@register("hanging")
class Hanging(Task):
    options_type = NoOptions

    def problem(self, index: int, seed: int) -> Problem:
        return Problem(key=self.key(index, seed), task=self.entry, prompt=f"{index} + {seed % 1000}")

    def score(self, problem: Problem, answer: str) -> Verdict:
        time.sleep(3600)
        return Verdict(reward=0.0)
"""


def wait_for(program: Program, run: Path, phase: str) -> None:
    """Until the run is well inside `phase`, by the files it has written and the seconds of its first step."""
    if phase in ("base evaluation", "scoring"):
        program.wait_until(lambda: "evaluating" in console(run))
        time.sleep(8.0 if phase == "scoring" else 3.0)
    elif phase == "rollout":
        program.wait_until((run / "evaluation" / "base.json").exists)
        time.sleep(1.0)
    elif phase == "final evaluation":
        program.wait_until(lambda: "evaluating the final" in console(run))
        time.sleep(2.0)
    else:
        program.wait_until(lambda: len(metrics(run)) == 1)
        first = metrics(run)[0]
        before = {"save": [], "reference": ["save", "rollout"], "update": ["save", "rollout", "reference"]}[phase]
        time.sleep(sum(first.get(f"seconds/{name}", 0.1) for name in before) + 0.02)


def console(run: Path) -> str:
    path = run / "console.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    "phase", ["base evaluation", "rollout", "scoring", "reference", "update", "save", "final evaluation"]
)
def test_ten_seconds_from_a_signal_to_the_exit(setup: Path, phase: str) -> None:
    (setup / "hanging.py").write_text(HANGING)
    hanging = {"mixture": {"all": {"name": "hanging"}}, "modules": ["hanging.py"], "timeout_s": 3600}
    (setup / "configs" / "tasks" / "hanging.yaml").write_text(yaml.safe_dump(hanging))
    name = f"in_{phase.replace(' ', '_')}"
    arguments = [*ARGUMENTS, f"model.path={setup / 'model'}", f"name={name}"]
    if phase == "scoring":
        arguments += ["tasks=hanging", "tasks.workers=1", "evaluation.final_problems_per_task=4"]
    if phase == "final evaluation":
        arguments += ["schedule.steps=1"]
    run = setup / "runs" / name
    with Program("prorl_mega.train", setup, *arguments) as program:
        wait_for(program, run, phase)
        sent = time.monotonic()
        program.send(signal.SIGTERM)
        finished = program.finish()
        seconds = time.monotonic() - sent
    print(f"{phase}: {seconds:.1f} s; {console(run).splitlines()[-2:]}")
    assert finished.code == ExitCode.SAVED_AFTER_SIGNAL, finished.output
    assert seconds < min(BOUND_S, LIMIT_S) + max([row.get("seconds/save", 0.0) for row in metrics(run)], default=0.0)
