"""Sweeps of evaluations that are named by the run or the model that they evaluate."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

EVALUATION = """
from prorl_mega.config.compose import run_composed
from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.errors import ExitCode

def main(settings):
    print("ran", settings.run, settings.step, settings.label)
    return ExitCode.FINISHED

if __name__ == "__main__":
    run_composed(main, EvaluateConfig)
"""


def test_sweeps_of_evaluations_that_their_run_names_have_labels_of_their_own(tmp_path: Path) -> None:
    program = tmp_path / "evaluation.py"
    program.write_text(EVALUATION)
    (tmp_path / "mine" / "evaluation").mkdir(parents=True)
    (tmp_path / "mine" / "evaluation" / "own.yaml").write_text("samples: 3\n")

    def labels(*overrides: str) -> list[str]:
        command = [sys.executable, str(program), "--config-dir", str(tmp_path / "mine"), "-m", "evaluation=own"]
        done = subprocess.run([*command, *overrides], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran")]

    assert labels("run=demo", "evaluation.temperature=0.6,1.0", "step=5") == [
        "demo 5 5--temperature_0.6",
        "demo 5 5--temperature_1.0",
    ]
    assert labels("run=demo,other", "step=5") == ["demo 5 None", "other 5 None"]


STOPPABLE = EVALUATION.replace(
    'print("ran", settings.run, settings.step, settings.label)\n    return ExitCode.FINISHED',
    """import signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print("runs", settings.run, flush=True)
    assert signal.sigwait({signal.SIGTERM, signal.SIGINT}) == signal.SIGTERM
    print("saved", settings.run, flush=True)
    return ExitCode.SAVED_AFTER_SIGNAL""",
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_a_sweep_reaches_its_job_and_ends_the_sweep(number: signal.Signals, tmp_path: Path) -> None:
    program = tmp_path / "evaluation.py"
    program.write_text(STOPPABLE)
    command = [sys.executable, str(program), "-m", "run=one,two"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        line = next(line for line in sweep.stdout if line.startswith("runs"))
        jobs = psutil.Process(sweep.pid).children()
        sweep.send_signal(number)
        said, complaints = sweep.communicate(timeout=60)
    assert (line, said.splitlines()) == ("runs one\n", ["saved one"])
    assert sweep.returncode == 10, complaints
    assert "the sweep stops" in complaints
    assert len(jobs) == 1
    assert not jobs[0].is_running()
