"""Repetitions follow each other at once in these tests."""

import pytest

from prorl_mega.served import connection


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE_S", 0.001)
