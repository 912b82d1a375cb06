"""Runs whose groups are sampled ahead of training, with a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.programs import metrics, outcome, run_program

RUN = ("experiment=small", "schedule.steps=4", "schedule.save_every=1", "schedule.evaluate_every=2")
SERVERS = ("placement=disaggregated", "servers.probe_deadline_s=60")
OWN = ("servers/", "staleness/", "groups/in_work", "groups/ready")


@pytest.fixture(scope="module")
def synchronous(setup: Path) -> Path:
    finished = run_program("prorl_mega.train", setup, *RUN, "name=synchronous")
    assert finished.code == 0, finished.output
    return setup / "runs" / "synchronous"


def common(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.startswith(OWN)} for row in rows]


def test_with_a_bound_of_no_version_it_is_the_synchronous_loop(setup: Path, synchronous: Path) -> None:
    finished = run_program("prorl_mega.train", setup, *RUN, *SERVERS, "rollout.staleness=0", "name=bound")
    assert finished.code == 0, finished.output
    run = setup / "runs" / "bound"
    rows = metrics(run, seconds=False)
    assert common(rows) == metrics(synchronous, seconds=False)
    assert all(row["staleness/max"] == row["groups/in_work"] == 0 for row in rows if row["step"])
    for part in ("samples", "evaluation/final/samples"):
        assert outcome(run / part) == outcome(synchronous / part), part


def test_ahead_no_token_is_older_than_the_bound(setup: Path) -> None:
    every = ("recipe.selection.dynamic_sampling=false", "recipe.selection.keep_uniform_groups=true")
    finished = run_program("prorl_mega.train", setup, *RUN, *SERVERS, *every, "rollout.staleness=1", "name=ahead")
    assert finished.code == 0, finished.output
    rows = [row for row in metrics(setup / "runs" / "ahead") if row["step"]]
    assert [row["staleness/max"] for row in rows] == [0.0, 1.0, 1.0, 1.0]
    assert [row["groups/kept"] for row in rows] == [4.0] * 4
    assert rows[-1]["groups/in_work"] == rows[-1]["groups/ready"] == 0, "nothing is sampled for steps after the last"
    assert all(row["groups/in_work"] + row["groups/ready"] > 0 for row in rows[:-1])
