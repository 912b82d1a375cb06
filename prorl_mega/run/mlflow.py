"""The numbers of a run for MLflow: in `mlflow/` of the run's directory, or wherever MLFLOW_TRACKING_URI points to.

`MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri runs/<name>/mlflow/mlruns` shows them. MLflow's names have
no @, so pass@8 is pass_at_8 there. Resets, stages and stops are tags with the step in their names.
"""

from __future__ import annotations

import importlib
import os
import re
import time
from typing import Any, ClassVar

from prorl_mega.run.tracker import PROJECT, Tracker
from prorl_mega.types import Metrics

_AT_ONCE = 100  # settings, which is what MLflow takes in one request
_LONGEST = 500  # characters of a setting that every version takes


class MLflow(Tracker):
    """A run of the experiment MLFLOW_EXPERIMENT_NAME. The package is no part of the requirements (`loggers.py`)."""

    folder: ClassVar[str] = "mlflow"

    def start(self, name: str, settings: dict[str, Any], known: str | None) -> str:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the only store on a disk that mlflow-skinny has
        mlflow: Any = importlib.import_module("mlflow")
        self._entities: Any = importlib.import_module("mlflow.entities")
        own = (self.place / "mlruns").resolve()
        self._client: Any = mlflow.MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or own.as_uri())
        if known is not None and self._goes_on(known):
            return known
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(experiment)
        place = self._client.create_experiment(experiment) if found is None else found.experiment_id
        self._id = str(self._client.create_run(place, run_name=name).info.run_id)
        values = [self._entities.Param(mlflow_name(key), str(value)[:_LONGEST]) for key, value in settings.items()]
        for start in range(0, len(values), _AT_ONCE):
            self._client.log_batch(self._id, params=values[start : start + _AT_ONCE])
        return self._id

    def _goes_on(self, known: str) -> bool:
        """Whether the run is there; another store than that of the first attempt does not have it."""
        exceptions: Any = importlib.import_module("mlflow.exceptions")
        try:
            self._client.update_run(known, status="RUNNING")
        except exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        self._id = known
        return True

    def log(self, step: int, metrics: Metrics) -> None:
        now = int(time.time() * 1000)
        values = [self._entities.Metric(mlflow_name(name), float(value), now, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=values)

    def note(self, step: int, title: str, text: str) -> None:
        self._client.set_tag(self._id, mlflow_name(f"step {step:06d} {title}"), text)

    def finish(self) -> None:
        self._client.set_terminated(self._id)


def mlflow_name(name: str) -> str:
    """`name` in the characters that MLflow's names have."""
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"))
