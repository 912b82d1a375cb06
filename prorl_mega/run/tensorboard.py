"""The numbers of a run for TensorBoard, written without importing torch or TensorFlow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prorl_mega.types import Metrics


class TensorBoard:
    """Event files in `tensorboard/` of the run's directory. Points beyond step `after`, left by an earlier attempt, are
    hidden."""

    def __init__(self, directory: Path, *, after: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        self._writer: Any = EventFileWriter(str(directory / "tensorboard"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(self._event(wall_time=time.time(), step=after + 1, session_log=start))
        self._writer.flush()

    def append(self, step: int, metrics: Metrics) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in sorted(metrics.items())]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
