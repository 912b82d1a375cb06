"""Runs that several test files look at; each costs the start of an engine."""

from __future__ import annotations

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


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, mixture and experiments; programs are started in this directory."""
    return small_setup(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def run_arguments() -> tuple[str, ...]:
    return RUN


@pytest.fixture(scope="session")
def uninterrupted(setup: Path) -> tuple[Finished, Path]:
    """One process from the first step to the last, and its run directory. Copy it before changing anything."""
    return run_program("prorl_mega.train", setup, *RUN, "name=uninterrupted"), setup / "runs" / "uninterrupted"
