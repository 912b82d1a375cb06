"""Settings that name code for Hydra to call are refused, wherever they come from, and nothing is called."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.settings import compose_settings

from prorl_mega.errors import ConfigError, ExitCode

OPEN = "{_target_: builtins.open, file: CANARY, mode: w}"
HANDLER = "{version: 1, handlers: {x: {class: builtins.open, file: CANARY, mode: w}}, root: {handlers: [x]}}"
FACTORY = "{version: 1, handlers: {x: {(): builtins.open, file: CANARY, mode: w}}, root: {handlers: [x]}}"
OPTIONS = f"tasks: {{mixture: {{x: {{name: arithmetic, options: {{mine: {OPEN}}}}}}}}}"
ELSEWHERE = "hydra: {callbacks: {x: '${tasks.mixture.x.options.mine}'}}"


CIRCLE = "hydra: {callbacks: {x: {y: '${hydra.callbacks.w}'}, w: {z: '${hydra.callbacks.x}'}}}"


def write(directory: Path, files: dict[str, str]) -> Path:
    """A folder of settings with these files, and the canary that their code would make."""
    for name, content in {"experiment/mine": "seed: 7", **files}.items():
        file = directory / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        header = "# @package _global_\n" if name == "experiment/mine" else ""
        file.write_text(header + content.replace("CANARY", str(directory / "canary")))
    return directory / "configs"


@pytest.mark.parametrize(
    ("files", "override", "message"),
    [
        ({}, f"+hydra.callbacks.x={OPEN}", "hydra.callbacks.x._target_='builtins.open': settings name no code"),
        ({}, "hydra.launcher._target_=os.system", "hydra.launcher._target_='os.system'"),
        ({}, "hydra.launcher._target_=posix.system", "these work: hydra._internal.core_plugins.basic_launcher"),
        ({}, "hydra.sweeper._target_=os.system", "hydra.sweeper._target_='os.system'"),
        ({}, f"+hydra.launcher.more={OPEN}", "hydra.launcher.more._target_="),
        ({}, f"+hydra.help.x=[{OPEN}]", "hydra.help.x.0._target_="),
        ({"experiment/mine": f"hydra: {{callbacks: {{x: {OPEN}}}}}"}, "", "hydra.callbacks.x._target_="),
        ({"experiment/mine": f"hydra: {{job_logging: {HANDLER}}}"}, "", "handlers.x.class='builtins.open'"),
        ({"experiment/mine": f"hydra: {{hydra_logging: {FACTORY}}}"}, "", "handlers.x.()='builtins.open'"),
        ({"experiment/mine": f"{OPTIONS}\n{ELSEWHERE}"}, "", "hydra.callbacks.x._target_="),
        ({"experiment/mine": "hydra: {callbacks: '${oc.create:{x: {_target_: os.getpid}}}'}"}, "", "x._target_="),
        ({"experiment/mine": "hydra: {job_logging: {x: 'ext://os.environ'}}"}, "", "'ext://os.environ'"),
        ({"experiment/mine": "hydra: {job_logging: {handlers: {file: {filename: CANARY}}}}"}, "", "file.filename="),
        ({"experiment/mine": CIRCLE}, "", "settings that contain themselves"),
        ({"hydra/launcher/bad": OPEN}, "hydra/launcher=bad", "hydra.launcher._target_="),
        ({"mine/bad": OPEN}, "+mine@hydra.callbacks.x=bad", "hydra.callbacks.x._target_="),
    ],
    ids=itertools.count(),
)
def test_code_that_hydra_would_call_is_refused(
    files: dict[str, str], override: str, message: str, tmp_path: Path
) -> None:
    search = f"hydra.searchpath=[file://{write(tmp_path, files)}]"
    overrides = [
        search,
        "experiment=mine",
        "name=x",
        "model.path=m",
        override.replace("CANARY", str(tmp_path / "canary")),
    ]
    with pytest.raises(ConfigError, match=re.escape(message)):
        compose_settings(*filter(None, overrides))


@pytest.mark.parametrize(
    ("files", "override", "message"),
    [
        ({}, f"+hydra.callbacks.x={OPEN}", "hydra.callbacks.x._target_="),
        ({"experiment/mine": f"hydra: {{job_logging: {HANDLER}}}"}, "", "hydra.job_logging.handlers.x.class="),
        ({"experiment/mine": f"{OPTIONS}\n{ELSEWHERE}"}, "", "hydra.callbacks.x._target_="),
        ({"experiment/mine": f"model: {OPEN}"}, "", "model._target_: no such setting"),
        (
            {"experiment/mine": f"tasks: {{mixture: {{x: {OPEN}}}}}"},
            "",
            "tasks.mixture.x._target_: the mixture has no such",
        ),
        ({"experiment/mine": "seed: ${seed}"}, "", "Recursive interpolation detected"),
    ],
    ids=itertools.count(),
)
def test_the_program_calls_nothing(files: dict[str, str], override: str, message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prorl_mega.train", "--config-dir", str(write(tmp_path, files))]
    words = ["experiment=mine", "name=x", "model.path=m", override.replace("CANARY", str(tmp_path / "canary"))]
    done = subprocess.run([*command, *filter(None, words)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "runs").exists()


def test_the_parts_of_this_project_work() -> None:
    for override in ("seed=2", "hydra/launcher=slurm", "hydra/launcher=submitit_local", "hydra.verbose=true"):
        assert compose_settings("name=x", "model.path=m", override).name == "x"
