"""Runs as they are named on a command line: by their directories, and by directories that stand for several of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prorl_mega.config.swept_runs import SWEPT_RUNS, noted_runs
from prorl_mega.errors import ConfigError
from prorl_mega.run.metrics import METRICS
from prorl_mega.run.settings import CONFIG

_ARGUMENTS = "arguments.*"  # of a submission: the run directory of every job comes first


def is_run(path: Path) -> bool:
    """Whether a directory is that of a run."""
    return (path / CONFIG).is_file() or (path / METRICS).is_file()


def found_runs(paths: Sequence[Path], root: Path) -> list[Path]:
    """The run directories that `paths` stand for, each once: runs, their names under `root`, directories of runs, those
    of sweeps (`multirun/train/<time>`, `<root>/studies/<name>`) and of submissions.

    Raises ConfigError that names the path that is none of them.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for run in _runs(path if path.exists() else root / path, path):
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs(path: Path, given: Path) -> list[Path]:
    if is_run(path):
        return [path]
    if (path / SWEPT_RUNS).is_file():
        return noted_runs(path)
    if submitted := sorted(path.glob(_ARGUMENTS), key=lambda each: int(each.suffix[1:] or 0)):
        return [Path(each.read_bytes().split(b"\0")[0].decode()) for each in submitted]
    if path.is_dir() and (inside := sorted(each for each in path.iterdir() if is_run(each))):
        return inside
    raise ConfigError(
        f"{given}: neither a run nor a directory of runs: it has no {CONFIG}, no {METRICS} and no {SWEPT_RUNS} of a "
        "sweep, and no directory inside it has one"
    )
