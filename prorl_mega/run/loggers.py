"""The loggers that get the numbers of every step besides metrics.jsonl, chosen by the setting `loggers`.

A logger is any callable `(directory, *, after)` that returns an object with `append(step, metrics)` and `close()`, such
as the class in examples/my_logger.py. Only rank 0 makes them. `directory` is the run's own; `after` is the step that
the run continues from, that of its checkpoint, so that points beyond it can be hidden; -1: it starts afresh.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Protocol

from prorl_mega.errors import ConfigError
from prorl_mega.plugins import resolve
from prorl_mega.run.mlflow import MLflow
from prorl_mega.run.tensorboard import TensorBoard
from prorl_mega.run.trackio import Trackio
from prorl_mega.run.wandb import WandB
from prorl_mega.types import Metrics


class MetricsLogger(Protocol):
    """Receives the numbers of a run, step by step. Its exceptions end the run, but for a `Tracker`'s."""

    def append(self, step: int, metrics: Metrics) -> None:
        """Take the numbers of step `step`, once and in order; values may be infinite or NaN. Step 0 has the held-out
        results of the policy before training."""

    def close(self) -> None:
        """End the log, also after a failure. Called once."""


LoggerType = Callable[..., MetricsLogger]
LOGGERS: dict[str, LoggerType] = {"tensorboard": TensorBoard, "mlflow": MLflow, "trackio": Trackio, "wandb": WandB}
_PACKAGES = {"mlflow": "mlflow-skinny", "trackio": "trackio", "wandb": "wandb"}
"""Modules that a logger needs and the requirements do not have, and the packages that have them."""


def logger_types(names: list[str]) -> list[LoggerType]:
    """The loggers of the setting `loggers`. Raises ConfigError for one that there is not or that cannot work here."""
    for name in names:
        package = _PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"loggers={name} needs the package {package}, which is not installed: {sys.executable} -m pip install "
                f"{package}"
            )
    return [resolve(name, LOGGERS, what="logger", key="loggers") for name in names]
