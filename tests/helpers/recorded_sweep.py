"""Directories of runs as a sweep leaves them, with made-up scores that follow from their settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from helpers.recorded_run import record_run

from prorl_mega.run.summary import write_summary

SAMPLES = 16


def record_swept_run(
    directory: Path, settings: dict[str, Any], score: float, *, steps: int = 10, dice: int = 0
) -> Path:
    """A run that has finished, with these dotted settings and about this score."""
    record_run(directory, steps)
    change_settings(directory, settings)
    random = np.random.default_rng(dice)

    def rescore(content: dict[str, Any]) -> None:
        for problem in content["problems"]:
            problem["solved"] = int(random.binomial(SAMPLES, np.clip(score, 0, 1)))

    change_final(directory, rescore)
    write_summary(directory, 0, "finished", step=steps, rank=0)
    return directory


def record_failed_run(directory: Path, settings: dict[str, Any], code: int, cause: str) -> Path:
    """The same without a final evaluation, and with another end; code -1: no word of one."""
    record_swept_run(directory, settings, 0.5)
    (directory / "evaluation" / "final.json").unlink()
    (directory / "run_summary.json").unlink()
    if code >= 0:
        write_summary(directory, code, cause, step=10, rank=0)
    return directory


def change_settings(directory: Path, settings: dict[str, Any]) -> None:
    file = directory / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    for key, value in settings.items():
        *groups, name = key.split(".")
        branch = tree
        for group in groups:
            branch = branch[group]
        branch[name] = value
    file.write_text(yaml.safe_dump(tree, sort_keys=False))


def change_final(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = directory / "evaluation" / "final.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
