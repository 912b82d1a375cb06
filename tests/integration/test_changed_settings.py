"""A run that was stopped goes on with other settings, elsewhere: what it does, what it records, what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from helpers.programs import Program, metrics, run_program

from prorl_mega.backtest import backtest, read_course
from prorl_mega.errors import ExitCode
from prorl_mega.run.decisions import read_changes, read_decisions
from prorl_mega.run.jsonl import read_rows

STAGES = "schedule.stages=[{steps: 1}, {steps: 9, optimizer: {learning_rate: 2e-3}}]"
ARGUMENTS = ("experiment=small", "schedule.save_every=1", "schedule.evaluate_every=3")
CHANGED = (
    "optimizer.learning_rate=1e-4",
    "optimizer.beta1=0.8",
    "recipe.selection.max_sampling_rounds=12",
    "rollout.max_prompt_tokens=50",
    "tasks.mixture.letters.weight=3",
    "model.path=moved/model",
    "root=elsewhere",
    "name=another",
)


def test_a_stopped_run_goes_on_with_other_settings(setup: Path) -> None:
    with Program("prorl_mega.train", setup, *ARGUMENTS, STAGES, "schedule.steps=50", "name=changed") as program:
        program.wait_until(lambda: len(metrics(setup / "runs" / "changed")) >= 2)
        program.send(signal.SIGTERM)
        assert program.finish().code == ExitCode.SAVED_AFTER_SIGNAL
    (setup / "elsewhere").mkdir()
    run = (setup / "runs" / "changed").rename(setup / "elsewhere" / "another")
    model = shutil.copytree(setup / "model", setup / "moved" / "model")
    done = len(metrics(run))
    stages = STAGES.replace("steps: 9", f"steps: {done + 1}").replace("2e-3", "5e-4").replace("}]", "}, {}]")
    after = (*ARGUMENTS, *CHANGED, stages, f"schedule.steps={done + 3}")

    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{{ messages }}"}))
    refused = run_program("prorl_mega.train", setup, *after, "seed=7", "optimizer.kind=muon")
    assert refused.code == ExitCode.CONFIG
    assert "seed: 1 before, 7 now; problems and samples of all steps follow from it" in refused.output
    assert "optimizer.kind: adamw before, muon now; the optimizer's state" in refused.output
    assert "moved/model (changed: tokenizer_config.json) now; weights, tokenizer, chat template" in refused.output
    assert not read_changes(run / "decisions.jsonl")
    shutil.copyfile(setup / "model" / "tokenizer_config.json", model / "tokenizer_config.json")

    finished = run_program("prorl_mega.train", setup, *after)
    assert finished.code == ExitCode.FINISHED, finished.output
    check(run, done)
    told = f"changed setting: optimizer.learning_rate: 0.001 -> 0.0001, from step {done + 1} on"
    assert f"{told}; stage 2, which is going on, sets it to 0.0005" in finished.output


def check(run: Path, done: int) -> None:
    rows = metrics(run)
    assert len(rows) == done + 3
    rates = [row["optimizer/learning_rate"] for row in rows]
    assert rates[:done] == [1e-3] + [2e-3] * (done - 1)
    assert rates[done:] == [5e-4, 5e-4, 5e-4], "the stage has a rate of its own, and the next one takes it over"
    assert [row["controller/stage"] for row in rows[-3:]] == [2, 2, 3], "the stage is as long as it is now"
    recorded = read_changes(run / "decisions.jsonl")
    assert {change.step for change in recorded} == {done}
    values = {change.key: change.after for change in recorded}
    assert values.pop("schedule.stages[2]")["steps"] == 0
    assert values == {
        "name": "another",
        "root": "elsewhere",
        "model.path": "moved/model",
        "optimizer.learning_rate": 1e-4,
        "optimizer.beta1": 0.8,
        "recipe.selection.max_sampling_rounds": 12,
        "rollout.max_prompt_tokens": 50,
        "tasks.mixture.letters.weight": 3.0,
        "schedule.steps": done + 3,
        "schedule.stages[1].steps": done + 1,
        "schedule.stages[1].optimizer.learning_rate": 5e-4,
    }
    assert "<td>optimizer.learning_rate</td>" in (run / "report.html").read_text()
    assert "max_sampling_rounds: 12" in (run / "config.yaml").read_text()
    backtested = list(backtest(read_course(run / "metrics.jsonl", []), read_rows(run / "metrics.jsonl")))
    assert backtested == list(read_decisions(run / "decisions.jsonl"))
    assert [event.action for _, event in backtested].count("next_stage") == 2


def test_a_run_without_groups_to_train_on_loses_no_step(setup: Path) -> None:
    """The policy before that step is saved, whatever `save_every`; other settings go on as if it had not been begun."""
    arguments = ("experiment=small", "schedule.steps=3", "schedule.save_every=10")
    refuses_all = "schedule.stages=[{steps: 2}, {recipe: {selection: {pass_rate_min: 0.999}}}]"
    takes_all = "schedule.stages=[{steps: 2}, {}]"

    stuck = run_program("prorl_mega.train", setup, *arguments, refuses_all, "name=stuck")
    assert stuck.code == ExitCode.DATA
    assert "saved after step 2 of 3; step 3 was given up and will be done again" in stuck.output
    assert "lower recipe.selection.min_groups_fraction" in stuck.output

    for name in ("stuck", "whole"):
        assert run_program("prorl_mega.train", setup, *arguments, takes_all, f"name={name}").code == ExitCode.FINISHED
    runs = setup / "runs"
    assert metrics(runs / "stuck", seconds=False) == metrics(runs / "whole", seconds=False)


def test_a_stopped_run_goes_on_in_another_layout(setup: Path) -> None:
    """Two ranks of tensor parallelism after one, and two stages after those: samples of each first step are of the
    policy that was saved, and the numbers stay those of a run that kept its layout, as far as sums in another order
    allow."""
    common = (*ARGUMENTS, "schedule.evaluate_every=0", "rollout.tensor=1")
    kept = run_program("prorl_mega.train", setup, *common, "schedule.steps=3", "name=kept")
    assert kept.code == ExitCode.FINISHED, kept.output
    for steps, ranks, layout in ((1, 1, ()), (2, 2, ("parallel.tensor=2",)), (3, 2, ("parallel.pipeline=2",))):
        settings = (*common, *layout, f"schedule.steps={steps}", "name=layouts")
        done = run_program("prorl_mega.train", setup, *settings, ranks=ranks)
        assert done.code == ExitCode.FINISHED, done.output
    assert "changed setting: parallel.pipeline: 1 -> 2, from step 3 on" in done.output
    found, expected = metrics(setup / "runs" / "layouts"), metrics(setup / "runs" / "kept")
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        for name in ("reward/mean", "length/total"):
            assert row.get(name) == other.get(name)
        assert row.get("optimizer/grad_norm", 0) == pytest.approx(other.get("optimizer/grad_norm", 0), rel=1e-3)
