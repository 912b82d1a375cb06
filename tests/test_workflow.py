"""`prorl_mega.workflow`: what starts when, what is not done again, and what a broken file is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from prorl_mega.errors import ConfigError, ExitCode, ProRLError
from prorl_mega.workflow import Workflow, WorkflowRun, WorkflowStep, arguments_of, main, read_workflow, seconds_left

ROOT = Path(__file__).parents[1]


def step(*after: str, minutes: float = 1.0, makes: str = "") -> WorkflowStep:
    return WorkflowStep(program="train", makes=makes or "x", after=list(after), minutes=minutes)


def named(**steps: WorkflowStep) -> Workflow:
    """Every step makes a file of its own name."""
    return Workflow(
        steps={
            name: WorkflowStep(program=each.program, makes=f"{name}/done", after=each.after, minutes=each.minutes)
            for name, each in steps.items()
        }
    )


class Programs:
    """Stands for the programs of steps: writes down what begins and ends, and makes the files."""

    def __init__(self, output: Path, failing: str = "", silent: str = "") -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.early: list[str] = []
        self.together = 0
        self._now = 0
        self._lock = threading.Lock()
        self._output, self._failing, self._silent = output, failing, silent

    def __call__(self, step: WorkflowStep, name: str) -> int:
        with self._lock:
            self.began.append(name)
            self._now += 1
            self.together = max(self.together, self._now)
        if early := [each for each in step.after if each not in self.ended]:
            self.early.append(f"{name} began before the end of {early}")
        if name not in (self._failing, self._silent):
            (self._output / name).mkdir(exist_ok=True)
            (self._output / name / "done").write_text(name)
        time.sleep(0.02)  # a program goes on for a moment after its file is there
        with self._lock:
            self._now -= 1
            self.ended.append(name)
        return int(name == self._failing)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Programs, list[str], ProRLError | None]]:
    def call(workflow: Workflow, jobs: int = 2, **programs: str) -> tuple[Programs, list[str], ProRLError | None]:
        said: list[str] = []
        started = Programs(tmp_path, **programs)
        try:
            WorkflowRun(workflow=workflow, output=tmp_path, jobs=jobs, start=started, say=said.append).finish()
        except ProRLError as error:
            return started, said, error
        return started, said, None

    return call


DIAMOND = named(page=step("left", "right"), left=step("base"), right=step("base"), base=step())


def test_steps_begin_when_those_before_them_are_done(run: Any) -> None:
    programs, said, error = run(DIAMOND)
    assert error is None
    assert not programs.early
    assert programs.began[0] == "base"
    assert sorted(programs.began[1:3]) == ["left", "right"]
    assert programs.began[3] == "page"
    assert said[0] == "4 steps, 0 done before"
    assert said[-1].startswith("page: done in ")


def test_never_more_at_a_time_than_jobs(run: Any) -> None:
    wide = named(**{f"s{number}": step() for number in range(9)})
    assert run(wide, jobs=1)[0].together == 1


def test_what_is_done_is_not_done_again(run: Any) -> None:
    first, _, error = run(DIAMOND, failing="right")
    assert "page" not in first.began  # it comes after what failed
    assert error is not None
    assert "right failed; see " in str(error)
    again, said, error = run(DIAMOND)
    assert error is None
    assert again.began == ["right", "page"]
    assert said[0] == "4 steps, 2 done before"


def test_a_program_that_ends_well_and_made_nothing_has_failed(run: Any) -> None:
    _, said, error = run(DIAMOND, silent="base")
    assert error is not None
    assert any(line.startswith("base: failed after ") for line in said)


def test_the_time_left_is_that_of_the_longest_way() -> None:
    steps = {"base": step(), "long": step("base"), "short": step("base"), "page": step("long", "short")}
    waits = {"base": 10.0, "long": 100.0, "short": 20.0, "page": 5.0}
    assert seconds_left(steps, waits, jobs=2) == 115
    assert seconds_left(steps, waits, jobs=1) == 135
    assert seconds_left(steps, {"long": -3.0, "page": 5.0}, jobs=2) == 5  # it takes longer than was expected
    assert seconds_left(steps, {}, jobs=2) == 0


def test_arguments_name_the_folder(tmp_path: Path) -> None:
    asked = WorkflowStep(program="train", arguments=["root={output}", "model.path={output}/base"], makes="x")
    assert arguments_of(asked, tmp_path) == [f"root={tmp_path}", f"model.path={tmp_path}/base"]


BASE: dict[str, Any] = {"program": "warmstart", "makes": "base/config.json"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({}, "steps: there is none"),
        ({"a": BASE | {"program": "trian"}}, r"steps.a.program: there is no `python -m prorl_mega.trian`"),
        ({"a": BASE | {"program": "os.system"}}, r"steps.a.program: there is no"),
        ({"a": BASE | {"after": ["b"]}}, "steps.a.after: 'b' is not one of the steps"),
        ({"a": BASE | {"after": ["b"]}, "b": BASE | {"after": ["a"]}}, "after: a, b wait for each other"),
        ({"a": BASE | {"makes": "../x"}}, "steps.a.makes: '../x' must be the path of a file below"),
        ({"a": BASE | {"makes": "/etc/x"}}, "steps.a.makes: '/etc/x' must be"),
        ({"a": BASE | {"minutes": 0}}, "> 0"),
        ({"a": BASE | {"mintues": 1}}, "unknown field `mintues`"),
        ({"a": {"program": "train"}}, "required field `makes`"),
        ({"a/b": BASE}, "a name has letters"),
        ("a", "Expected `object`"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, steps: Any, message: str) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text(yaml.safe_dump({"steps": steps}))
    with pytest.raises(ConfigError, match=message) as caught:
        read_workflow(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_study_that_comes_along_can_be_read() -> None:
    workflow = read_workflow(ROOT / "examples" / "boundary.yaml")
    assert workflow.order()[0] == "base"
    assert workflow.order()[-1] == "page"
    for each in workflow.steps.values():
        assert not [word for word in each.arguments if word.count("{") != word.count("{output}")]


def test_a_real_program_is_run_and_its_output_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump({"steps": {"page": {"program": "boundary", "arguments": ["none"], "makes": "boundary.html"}}})
    )
    code = main([str(tmp_path / "w.yaml"), "--output", str(tmp_path / "out"), "--jobs", "1"])
    said = "".join(capsys.readouterr())
    assert code != 0
    assert "page failed; see " in said
    assert "does not exist" in (tmp_path / "out" / "logs" / "page.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_programs_stop_with_the_workflow(number: signal.Signals, tmp_path: Path) -> None:
    endless = {"program": "view", "arguments": ["{output}", "--port", "0"], "makes": "never"}
    later = {"program": "boundary", "arguments": [], "makes": "later", "after": ["a"]}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump({"steps": {"a": endless, "b": endless, "c": endless, "d": later}}))
    command = [sys.executable, "-m", "prorl_mega.workflow", str(tmp_path / "w.yaml"), "--output", str(tmp_path / "out")]
    with subprocess.Popen([*command, "--jobs", "2"], stderr=subprocess.PIPE, text=True) as process:
        logs = [tmp_path / "out" / "logs" / f"{name}.log" for name in "ab"]
        deadline = time.monotonic() + 60
        while not all(log.is_file() and "http" in log.read_text() for log in logs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.SAVED_AFTER_SIGNAL
    assert f"stopped by {number.name}; what is finished is kept" in said
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "out" / "logs" / "c.log").exists()
