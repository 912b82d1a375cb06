"""Sweeps of evaluations that are named by the run or the model that they evaluate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
