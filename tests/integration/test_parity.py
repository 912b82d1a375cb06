"""Reports on sampler and learner: of a training run, and by `python -m prorl_mega.doctor parity`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.programs import Finished, metrics, run_program

from prorl_mega.run.parity import PARITY, latest_parity

EXAMINED = ("parity", "experiment=small", "--problems", "4", "--samples", "2")


def test_a_run_has_a_report_of_its_first_and_of_its_tenth_step(uninterrupted: tuple[Finished, Path]) -> None:
    finished, run = uninterrupted
    assert finished.code == 0, finished.output
    lines = [json.loads(line) for line in (run / PARITY).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10]
    rows = {row["step"]: row for row in metrics(run)}
    assert [step for step, row in rows.items() if "sampler/parity_mean" in row] == [1, 10]
    for line in lines:
        row, whole = rows[line["step"]], line["whole"]
        assert (line["version"], line["answers"], line["not_finite"]) == (line["step"] - 1, 16, 0)
        assert whole["tokens"] == row["learner/completion_tokens"]
        assert {name: row[f"sampler/parity_{name}"] for name in ("mean", "p50", "p99", "max")} == {
            name: whole[name] for name in ("mean", "p50", "p99", "max")
        }
        assert 0 < whole["mean"] <= whole["p99"] <= whole["max"] <= 1e-5
        assert whole["max"] == pytest.approx(row["sampler/logprob_gap_max"], rel=1e-6)
        assert row["sampler/parity_p50"] <= row["sampler/parity_p99"]
        assert (row["seconds/parity"] > 0) is True
        (version,) = line["by_version"]
        assert (version["first"], version["tokens"]) == (line["step"] - 1, whole["tokens"])
        assert sum(each["tokens"] for each in line["by_position"]) == whole["tokens"]
        assert line["by_position"][0]["tokens"] == 16
    found = latest_parity(run / PARITY)
    assert found is not None
    worst = found[1].worst
    assert len(worst) == 10
    assert all(each.text and each.before and each.key.startswith(("letters/", "sums/")) for each in worst)
    assert worst[0].difference == found[1].whole.max
    page = (run / "report.html").read_text()
    assert "<h3>Step 10</h3>" in page
    assert 'data-chart="parity-by-position"' in page


def test_the_doctor_says_that_they_agree_and_leaves_nothing(setup: Path) -> None:
    before = {path for path in setup.rglob("*") if path.is_file()}
    finished = run_program("prorl_mega.doctor", setup, *EXAMINED)
    assert finished.code == 0, finished.output
    assert "8 answers to 4 problems, weights of" in finished.output
    tokens = re.search(r"^ +all tokens +(\d+) ", finished.output, re.MULTILINE)
    assert tokens is not None
    assert 8 <= int(tokens[1]) <= 8 * 12
    assert re.search(r"^ +position 0 +8 ", finished.output, re.MULTILINE)
    assert re.search(r"^ +below 1e-07 ", finished.output, re.MULTILINE)
    assert "verdict: sampler and learner agree" in finished.output
    assert {path for path in setup.rglob("*") if path.is_file()} == before


def test_two_ranks_refuse_what_the_bound_does_not_allow(setup: Path) -> None:
    """Every rank has the same report, so all of them end with the same error and none waits for another."""
    overrides = ("parallel.tensor=2", "rollout.tensor=1", "rollout.max_logprob_gap=1e-12")
    finished = run_program("prorl_mega.doctor", setup, *EXAMINED, *overrides, ranks=2)
    assert finished.code != 0, finished.output
    assert "verdict" not in finished.output
    said = re.findall(r"differ by ([\d.e-]+) nats per token on average, by ([\d.e-]+) at most, and", finished.output)
    assert len(set(said)) == 1, finished.output
    assert re.search(r"exitcode +: 23 ", finished.output), finished.output
    assert finished.output.count("all tokens") == 1, "rank 0 alone prints the table"
    assert "Traceback (most recent call last):\n  File" not in finished.output.split("torch/distributed")[0]
