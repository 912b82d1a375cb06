"""Every logger, ours and the example's, keeps to one protocol; one that cannot be found is named before a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.thread_ranks import run_ranks
from helpers.toy_run import Toy, toy_config
from helpers.tracked import read_wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ConfigError
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.run_directory import TrainingRun

EXAMPLE = f"{Path(__file__).parents[2] / 'examples' / 'my_logger.py'}:CsvLogger"
FAILING = """
closed = []

class Failing:
    def __init__(self, directory, *, after):
        pass

    def append(self, step, metrics):
        raise OSError("the metrics server is gone")

    def close(self):
        closed.append("failing")
        raise OSError("still gone")
"""


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("my_logger", "failing_logger"):
        sys.modules.pop(name, None)


def logged_steps(directory: Path) -> list[int]:
    """The steps at which the run's only logger has written down "reward/mean"."""
    if (csv := directory / "metrics.csv").exists():
        return [int(line.split(",")[0]) for line in csv.read_text().splitlines() if ",reward/mean," in line]
    if (directory / "wandb").exists():
        return [step for run in read_wandb(directory) for step, _ in run.series("reward/mean")]
    accumulator = EventAccumulator(str(directory / "tensorboard"), purge_orphaned_data=True)
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars("reward/mean")]


WANDB = pytest.param(
    "wandb", marks=pytest.mark.skipif(not find_spec("wandb"), reason="NOT RUN: no wandb, which cpu.lock has")
)


@pytest.mark.parametrize("logger", ["tensorboard", WANDB, EXAMPLE])
def test_a_logger_gets_every_step_once_also_when_the_run_fails_and_resumes(tmp_path: Path, logger: str) -> None:
    def attempt(ranks: Ranks) -> None:
        config = toy_config(tmp_path, 5)
        config.loggers = [logger]
        toy = Toy(ranks.rank)
        with TrainingRun(config, ranks) as run:
            done = run.resume(toy.restore)
            for step in range(done + 1, done + 3):
                with run.step(step) as log:
                    log.add({"reward/mean": float("nan") if step == 2 else toy.advance()})
            run.save(step, toy.save)
            with run.step(step + 1) as log:
                log.add({"reward/mean": 1.0})
                raise RuntimeError("the engine is gone")

    for _ in range(2):
        errors = run_ranks(2, attempt)
        assert [str(error) for error in errors] == ["the engine is gone"] * 2
    assert logged_steps(tmp_path / "toy") == [1, 2, 3, 4], "from rank 0 alone, nothing of the failed step"


def test_a_logger_that_fails_ends_the_run_after_the_row_is_on_disk(tmp_path: Path) -> None:
    (tmp_path / "failing_logger.py").write_text(FAILING)
    config = toy_config(tmp_path, 5)
    config.loggers = ["tensorboard", f"{tmp_path}/failing_logger.py:Failing"]

    def attempt(ranks: Ranks) -> None:
        with TrainingRun(config, ranks) as run:
            run.resume(Toy().restore)
            with run.step(1) as log:
                log.add({"reward/mean": 0.5})

    with pytest.raises(OSError, match="gone"):
        attempt(Ranks.alone())
    assert sys.modules["failing_logger"].closed == ["failing"]
    assert (tmp_path / "toy" / "LOCK").read_text() == "", "the directory is free although close() raised"
    assert [row["reward/mean"] for row in read_rows(tmp_path / "toy" / "metrics.jsonl")] == [0.5]
    assert logged_steps(tmp_path / "toy") == [1]


def test_no_loggers_at_all(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 1)
    config.loggers = []
    with TrainingRun(config, Ranks.alone()) as run:
        run.resume(Toy().restore)
        with run.step(1) as log:
            log.add({"reward/mean": 0.5})
    assert not (tmp_path / "toy" / "tensorboard").exists()


def test_a_logger_that_is_none_is_named_before_the_directory_is_made(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 1)
    config.loggers = ["tensorbord"]
    with pytest.raises(ConfigError, match=r"loggers=tensorbord: no such logger; did you mean tensorboard\?"):
        TrainingRun(config, Ranks.alone())
    config.loggers = [f"{EXAMPLE}r"]
    with pytest.raises(ConfigError, match=r"my_logger\.py has no 'CsvLoggerr'; did you mean CsvLogger\?"):
        TrainingRun(config, Ranks.alone())
    assert not (tmp_path / "toy").exists()


def test_a_logger_whose_package_is_missing_is_refused_before_the_directory_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = toy_config(tmp_path, 1)
    config.loggers = ["tensorboard", "wandb"]
    with pytest.raises(ConfigError, match=r"loggers=wandb needs the package wandb, .* -m pip install wandb"):
        TrainingRun(config, Ranks.alone())
    assert not (tmp_path / "toy").exists()


def test_the_example_fits_on_a_screen() -> None:
    assert len(Path(EXAMPLE.partition(":")[0]).read_text().splitlines()) <= 25
