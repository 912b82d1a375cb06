"""The numbers of a run for Weights & Biases, written to this disk; nothing is sent unless the user says so.

Every attempt of a run is an offline run of its own in `wandb/` of the run's directory, all of one group; steps go on
where the checkpoint was. `wandb sync runs/<name>/wandb/offline-run-*` uploads them; WANDB_MODE=online does so at once.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from prorl_mega.types import Metrics


class WandB:
    """One attempt of a run. The package is no part of the requirements (`loggers.py`)."""

    def __init__(self, directory: Path, *, after: int) -> None:
        attempt = directory.name if after < 0 else f"{directory.name} after step {after}"
        wandb: Any = importlib.import_module("wandb")
        self._run: Any = wandb.init(
            dir=directory,
            project=os.environ.get("WANDB_PROJECT", "prorl_mega"),
            group=directory.name,
            name=attempt,
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def append(self, step: int, metrics: Metrics) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()
