"""Options of the benchmark, the session that all cases share, and the tables at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prorl_kernels.benchmarks.session import Session
from prorl_kernels.benchmarks.table import CONVENTION

SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernels' benchmark")
    group.addoption("--results", type=Path, default=Path("runs/kernels"), help="folder of the CSV and the pictures")
    group.addoption("--cpu-time", action="store_true", help="on a CPU count process time, not the wall clock's")


def pytest_configure(config: pytest.Config) -> None:
    grid = "gpu" if torch.cuda.is_available() else "cpu"
    folder, cpu_time = config.getoption("--results", Path("runs/kernels")), config.getoption("--cpu-time", False)
    config.stash[SESSION] = Session(grid, folder, cpu_time)


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    return pytestconfig.stash[SESSION]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The tables, which the tests themselves must not print."""
    session = config.stash[SESSION]
    if session.tables:
        terminalreporter.section("linear_token_stats")
        for text in (CONVENTION, *session.tables, session.plot()):
            terminalreporter.write_line(text + "\n")
