"""`python -m prorl_mega.study`: real runs, continued where they stopped, and what a broken study file is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.programs import ROOT
from helpers.settings import model_directory, run_config

from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.study import read_study

STUDY: dict[str, Any] = {
    "common": ["experiment=small", "schedule.steps=1", "schedule.evaluate_every=0"],
    "seeds": [1],
    "reference": "all",
    "arms": {"all": {"title": "everything"}, "no_kl": {"title": "without KL", "overrides": ["recipe.kl.coef=0"]}},
}


def run(setup: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prorl_mega.study", "study.yaml", "--output", "runs/study", *arguments]
    return subprocess.run(command, cwd=setup, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_arms_are_run_once_and_compared(setup: Path) -> None:
    content = STUDY | {"common": [f"--config-dir={setup / 'configs'}", *STUDY["common"]]}
    (setup / "study.yaml").write_text(yaml.safe_dump(content))
    first = run(setup)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.startswith("2 runs, 0 finished before\n[1/2] ")
    assert "| everything | 1 |" in first.stdout
    assert "| without KL | 1 |" in first.stdout
    assert (setup / "runs" / "study" / "study.png").stat().st_size > 10_000
    kept = yaml.safe_load((setup / "runs" / "study" / "no_kl_seed1" / "config.yaml").read_text())
    assert kept["recipe"]["kl"]["coef"] == 0

    (setup / "runs" / "study" / "all_seed1" / "evaluation" / "final.json").unlink()
    again = run(setup)
    assert again.stdout.startswith("2 runs, 1 finished before\n[2/2] all_seed1: pass@1 ")
    table = (setup / "runs" / "study" / "study.md").read_text()
    assert first.stdout.rpartition("wrote")[0].endswith(table)  # evaluated again, the same numbers

    content["arms"] = {"all": {"title": "everything", "overrides": ["recipe.policy_loss.clip_low=7"]}}
    (setup / "study.yaml").write_text(yaml.safe_dump(content | {"seeds": [2]}))
    broken = run(setup)
    assert broken.returncode != 0
    assert "error: 1 of 1 runs failed: all_seed2" in broken.stderr
    assert "recipe.policy_loss.clip_low" in (setup / "runs" / "study" / "all_seed2.log").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "none"}, "reference='none' is not one of the arms"),
        ({"seeds": "1,2"}, "seeds must be a list of whole numbers"),
        ({"more": 1}, "must have the keys arms, common, reference, seeds"),
        ({"arms": {"all": {"titel": "x"}}}, "arms.all must have a title"),
        ({"common": "experiment=small"}, "common must be a list of overrides"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | change))
    with pytest.raises(ConfigError, match=message) as caught:
        read_study(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.exit_code is ExitCode.CONFIG


def test_the_study_that_comes_along_can_be_run(tmp_path: Path) -> None:
    study = read_study(ROOT / "examples" / "ablation.yaml")
    model = model_directory(tmp_path / "model")
    for arm in study.arms.values():
        run_config(model, *study.common, *arm.overrides)
    assert study.reference in study.arms
    assert len(study.runs()) == len(study.arms) * len(study.seeds) >= 18
