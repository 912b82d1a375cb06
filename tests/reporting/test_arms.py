"""Arms of a study: pairing by seed and problem, intervals that contain what they must, and the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.recorded_run import record_run

from prorl_mega.reporting.arms import Arm, FinishedRun, compare_arms, read_finished_run, resample, table

ARMS = {name: Arm(title=f"the arm {name}") for name in ("full", "less", "empty")}


def outcome(seed: int, keys: str, final: list[float]) -> FinishedRun:
    values = np.array(final)
    return FinishedRun(
        seed=seed,
        problems=tuple(keys),
        base={1: np.zeros(len(keys))},
        final={1: values},
        entropy=0.25,
    )


def test_differences_are_paired_by_seed_and_by_problem() -> None:
    full = [outcome(1, "abc", [0.5, 0.6, 0.7]), outcome(2, "abc", [0.1, 0.1, 0.1])]
    # Problems in another order, one that the other has not, and a seed that the other has not.
    less = [outcome(1, "cbx", [0.5, 0.4, 1.0]), outcome(3, "abc", [1.0, 1.0, 1.0])]
    results = compare_arms(ARMS, {"full": full, "less": less}, "full")
    assert [each.arm.title for each in results] == ["the arm full", "the arm less"]
    assert results[0].difference is None
    assert results[0].final[1].mean == pytest.approx((0.6 + 0.1) / 2)
    difference = results[1].difference
    assert difference is not None
    assert difference[1].mean == pytest.approx(-0.2)
    assert difference[1].low == pytest.approx(-0.2)
    assert difference[1].high == pytest.approx(-0.2)
    assert results[1].seeds == 2


def test_arms_that_were_evaluated_under_other_settings_are_not_compared() -> None:
    cold, warm = ({"evaluation.temperature": value} for value in (0.6, 1.0))
    full = replace(outcome(1, "ab", [0.5, 0.7]), settings=cold)
    less = replace(outcome(1, "ab", [0.9, 0.9]), settings=warm)
    text = table(compare_arms(ARMS, {"full": [full], "less": [less]}, "full"), "full")
    assert "| the arm less | 1 | 0.000 | 0.900 [0.900, 0.900] | – |" in text
    assert (
        "No difference for the arm less: it was evaluated under other settings than full: "
        "evaluation.temperature: 0.6 and 1.0." in text
    )


def test_a_run_whose_own_two_evaluations_differ_says_so(tmp_path: Path) -> None:
    record_run(tmp_path / "run", steps=20)
    path = tmp_path / "run" / "evaluation" / "base.json"
    content = json.loads(path.read_text())
    content["settings"]["evaluation.temperature"] = 1.0
    path.write_text(json.dumps(content))
    read = read_finished_run(tmp_path / "run")
    assert read is not None
    assert read.summary().endswith("(not comparable, evaluation.temperature: 1.0 and 0.6)")


def test_an_interval_covers_seeds_that_disagree() -> None:
    same = resample([np.full(50, 0.5), np.full(50, 0.5)])
    assert (same.low, same.high) == (0.5, 0.5)
    apart = resample([np.full(50, 0.2), np.full(50, 0.8)])
    assert apart.mean == pytest.approx(0.5)
    assert (apart.low, apart.high) == pytest.approx((0.2, 0.8))


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    dice = np.random.default_rng(1)
    hits = 0
    for trial in range(40):
        seeds = [np.clip(dice.normal(0.5, 0.1) + dice.normal(0, 0.2, 60), -1, 2) for _ in range(8)]
        estimate = resample(seeds, seed=trial)
        hits += estimate.low <= 0.5 <= estimate.high
    assert 32 <= hits <= 40


def test_a_run_is_read_when_it_has_finished(tmp_path: Path) -> None:
    assert read_finished_run(tmp_path / "nowhere") is None
    record_run(tmp_path / "run", steps=20)
    read = read_finished_run(tmp_path / "run")
    assert read is not None
    assert len(read.problems) == 40
    assert sorted(read.final) == [1, 16]
    assert read.final[1].mean() > read.base[1].mean()
    assert read.summary().startswith("pass@1 0.1")
    (tmp_path / "run" / "evaluation" / "final.json").unlink()
    assert read_finished_run(tmp_path / "run") is None


def test_the_table_has_a_row_for_every_arm_that_has_run() -> None:
    runs = {"full": [outcome(1, "ab", [0.5, 0.7])], "less": [outcome(1, "ab", [0.4, 0.4])]}
    text = table(compare_arms(ARMS, runs, "full"), "full")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert "| the arm full | 1 | 0.000 | 0.600 [" in rows[2]
    assert "-0.200 [" in rows[3]
