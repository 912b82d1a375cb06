"""A logger of your own is one class: it gets the numbers of every step. Copy this one and change it.

python -m prorl_mega.train experiment=demo 'loggers=[tensorboard, "examples/my_logger.py:CsvLogger"]'
"""

from __future__ import annotations

from pathlib import Path


class CsvLogger:
    """Writes `step,name,value` lines to metrics.csv in the run's directory."""

    def __init__(self, directory: Path, *, after: int) -> None:
        """`after` is the step that the run resumes from, -1 at its start."""
        self.file = (directory / "metrics.csv").open("w" if after < 0 else "a", encoding="utf-8")

    def append(self, step: int, metrics: dict[str, float]) -> None:
        self.file.writelines(f"{step},{name},{value}\n" for name, value in metrics.items())
        self.file.flush()

    def close(self) -> None:
        self.file.close()
