"""Runs that several test files look at; each costs the start of an engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.programs import Finished, run_program, small_setup

# Resets after steps 4 and 8, so that the last checkpoint has an optimizer with a past.
RUN = (
    "experiment=small",
    "schedule.steps=10",
    "schedule.save_every=1",
    "schedule.evaluate_every=2",
    "schedule.reset.every=4",
    "schedule.reset.min_distance=4",
)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, mixture and experiments; programs are started in this directory. Names of runs are a file's own."""
    return small_setup(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def run_arguments() -> tuple[str, ...]:
    return RUN


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path]:
    """One process from the first step to the last, and its run directory."""
    setup = small_setup(tmp_path_factory.mktemp("uninterrupted"))
    return run_program("prorl_mega.train", setup, *RUN, "name=uninterrupted"), setup / "runs" / "uninterrupted"


@pytest.fixture(scope="module")
def uninterrupted(setup: Path, finished: tuple[Finished, Path]) -> tuple[Finished, Path]:
    """The same run in the `setup` of this file. Copy it before changing anything."""
    return finished[0], Path(shutil.copytree(finished[1], setup / "runs" / "uninterrupted"))
