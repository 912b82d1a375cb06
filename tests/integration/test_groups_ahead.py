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


def test_held_out_problems_are_evaluated_in_the_gaps_and_say_how_old_their_answers_are(setup: Path) -> None:
    every = ("recipe.selection.dynamic_sampling=false", "recipe.selection.keep_uniform_groups=true", "schedule.steps=6")
    beside = ("rollout.staleness=1", "evaluation.beside_training=true", "name=in_the_gaps")
    finished = run_program("prorl_mega.train", setup, *RUN, *SERVERS, *every, *beside)
    assert finished.code == 0, finished.output
    run = setup / "runs" / "in_the_gaps"
    rows = {int(row["step"]): row for row in metrics(run)}
    recorded = [step for step, row in rows.items() if "evaluation/pass@1" in row]
    assert len(recorded) == 2
    assert recorded[0] in (3, 4), "that of step 2"
    assert recorded[1] in (5, 6), "that of step 4; the final evaluation follows step 6"
    for step in recorded:
        row = rows[step]
        assert 0 < row["evaluation/lag"] <= 2
        assert 1 <= row["evaluation/versions"] <= 3
        assert row["evaluation/problems"] > 0
    assert (run / "evaluation" / "final.json").exists()
