"""The numbers of a run for Trackio: in `trackio/` of the run's directory, or wherever TRACKIO_DIR points to.

`TRACKIO_DIR=runs/<name>/trackio trackio show` shows them. Nothing is sent unless the user names a place for it, in
TRACKIO_SPACE_ID or TRACKIO_SERVER_URL. Resets, stages and stops are alerts.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, ClassVar

from prorl_mega.run.tracker import PROJECT, Tracker
from prorl_mega.types import Metrics


class Trackio(Tracker):
    """A run of the project TRACKIO_PROJECT. The package is no part of the requirements (`loggers.py`)."""

    folder: ClassVar[str] = "trackio"

    def start(self, name: str, settings: dict[str, Any], known: str | None) -> str:
        os.environ.setdefault("TRACKIO_DIR", str(self.place.resolve()))  # which the package reads when it is imported
        trackio: Any = importlib.import_module("trackio")
        self._run: Any = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=name,
            config=settings,
            resume="allow" if known else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._info: Any = trackio.AlertLevel.INFO
        return name

    def log(self, step: int, metrics: Metrics) -> None:
        self._run.log(dict(metrics), step=step)

    def note(self, step: int, title: str, text: str) -> None:
        self._run.alert(title=title, text=f"step {step}: {text}", level=self._info)

    def finish(self) -> None:
        self._run.finish()
