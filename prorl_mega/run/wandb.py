"""The numbers of a run for Weights & Biases, written to this disk; nothing is sent unless the user says so.

Every attempt of a run writes a folder of its own in `wandb/` of the run's directory, all under one id; steps go on
where the last one ended. `wandb sync --append runs/<name>/wandb/offline-run-*` uploads them as one run;
WANDB_MODE=online does so at once. Resets, stages and stops are alerts.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, ClassVar

from prorl_mega.run.tracker import PROJECT, Tracker
from prorl_mega.types import Metrics


class WandB(Tracker):
    """One attempt of a run. The package is no part of the requirements (`loggers.py`)."""

    folder: ClassVar[str] = "wandb"

    def start(self, name: str, settings: dict[str, Any], known: str | None) -> str:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb: Any = importlib.import_module("wandb")
        self._run: Any = wandb.init(
            dir=self.directory,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=known,
            resume="allow" if known else None,
            name=name,
            config=settings,
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        return str(self._run.id)

    def log(self, step: int, metrics: Metrics) -> None:
        self._run.log(dict(metrics), step=step)

    def note(self, step: int, title: str, text: str) -> None:
        self._run.alert(title=title, text=f"step {step}: {text}")

    def finish(self) -> None:
        self._run.finish()
