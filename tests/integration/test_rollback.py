"""Numbers that are not finite, and ranks that disagree: back to the last checkpoint, and on with other problems."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.programs import metrics, run_program

from prorl_mega.errors import ExitCode
from prorl_mega.run.decisions import read_decisions
from prorl_mega.run.spikes import read_batch
from prorl_mega.run.summary import read_summary

RUN = ("experiment=small", "schedule.steps=6", "schedule.save_every=2", "schedule.evaluate_every=0")
NAN = "faults=[{site: gradients, action: poison, step: 6}]"


def keys(run: Path) -> dict[int, set[str]]:
    """The problems whose answers were kept for people to read, by step."""
    return {
        int(path.stem[5:]): {json.loads(line)["key"] for line in path.read_text().splitlines()}
        for path in (run / "samples").glob("step_*.jsonl")
    }


def lost(run: Path) -> float:
    """The problems that were drawn and are in no step, nor still to be trained on."""
    state = json.loads((run / "checkpoints" / "step_000006" / "state.json").read_text())["problems"]
    told = 0.0
    for row in metrics(run):
        told += row["groups/kept"]
        told += sum(value for name, value in row.items() if name.startswith("groups/dropped/"))
    return float(state["drawn"]) - told - len(state.get("open", []))


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_nan_on_one_rank_brings_all_of_them_back(setup: Path, rank: int) -> None:
    """Of two data-parallel ranks. With no rollback left the error stands, and the checkpoint is as it was."""
    name = f"nan_{rank}"
    run, fault = setup / "runs" / name, NAN.replace("}", f", rank: {rank}}}")
    ended = run_program("prorl_mega.train", setup, *RUN, f"name={name}", fault, ranks=2)
    assert ended.code != 0  # torchrun has codes of its own
    assert "not finite: optimizer/grad_norm=nan" in ended.output
    assert read_summary(run)["exit_code"] == ExitCode.NUMERICS
    assert len(metrics(run)) == 5
    saved = sorted(each.name for each in (run / "checkpoints").iterdir())
    assert saved == ["LATEST", "step_000002", "step_000004"], "a checkpoint was due after the step with the NaN"
    assert len(read_batch(run / "spikes" / "step_000006.safetensors")) == 16
    assert sorted(each.name for each in (run / "faults").iterdir()) == ["00-gradients-1.json"]
    before = keys(run)

    shutil.rmtree(run / "faults")
    again = (*RUN, f"name={name}", fault, "optimizer.max_rollbacks=1")
    went_on = run_program("prorl_mega.train", setup, *again, ranks=2)
    assert went_on.code == 0, went_on.output
    assert "back from step 6 to the checkpoint after step 4, on with other problems" in went_on.output
    assert [row["step"] for row in metrics(run)] == list(range(1, 7))
    (step, event), *_ = [each for each in read_decisions(run / "decisions.jsonl") if each[1].trigger == "numerics"]
    numbers = {"step": 6.0, "to": 4.0, "problems": event.numbers["problems"], "in_a_row": 1.0}
    assert (step, event.action, event.numbers) == (4, "roll_back", numbers)
    assert lost(run) == event.numbers["problems"] > 0
    assert before[4] == keys(run)[4]
    assert before[5] != keys(run)[5], "the problems of step 5 were drawn again"


def test_a_flipped_bit_is_named_and_taken_back(setup: Path) -> None:
    fault = "faults=[{site: parameters, action: flip, step: 5, rank: 1}]"
    arguments = (*RUN, "name=flipped", fault, "optimizer.max_rollbacks=1")
    ended = run_program("prorl_mega.train", setup, *arguments, ranks=2)
    assert ended.code == 0, ended.output
    assert "ranks 0, 1 hold different weights, and no majority says who is right" in ended.output
    assert "back from step 5 to the checkpoint after step 4" in ended.output
    assert [row["step"] for row in metrics(setup / "runs" / "flipped")] == list(range(1, 7))


@pytest.mark.slow
def test_with_groups_ahead_each_problem_has_one_end(setup: Path) -> None:
    """The groups that are being sampled are given up, and their problems sampled anew."""
    ahead = ("placement=disaggregated", "rollout.staleness=1", "evaluation.beside_training=true")
    arguments = (*RUN, *ahead, "schedule.evaluate_every=2", "name=ahead", NAN, "optimizer.max_rollbacks=1")
    ended = run_program("prorl_mega.train", setup, *arguments)
    assert ended.code == 0, ended.output
    run = setup / "runs" / "ahead"
    assert "back from step 6 to the checkpoint after step 4" in ended.output
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(1, 7))
    (event,) = [event for _, event in read_decisions(run / "decisions.jsonl") if event.trigger == "numerics"]
    assert lost(run) == event.numbers["problems"] > 0
