"""A real run on prompts of which some are too long, a validation file and a training file of one row."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.programs import TASKS, metrics, run_program

from prorl_mega.errors import ExitCode

TRAIN = "prorl_mega.train"


@pytest.mark.slow
def test_long_prompts_a_validation_file_and_a_file_of_one_row(setup: Path) -> None:
    rows = {
        "val": [{"prompt": f"{i}+2=", "answer": str(i + 2)} for i in range(5)],
        "one": [{"prompt": "1+1=", "answer": "2"}],
    }
    for name, lines in rows.items():
        (setup / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    file = {
        name: {"name": "math", "options": {"path": str(setup / f"{name}.jsonl"), "answer": "line"}} for name in rows
    }
    mixture = TASKS | {"one": file["one"] | {"weight": 0.2}, "val": file["val"] | {"split": "validation"}}
    (setup / "configs" / "tasks" / "splits.yaml").write_text(json.dumps({"mixture": mixture}))
    lengths = ["rollout.max_prompt_tokens=20", "evaluation.problems_per_task=4", "evaluation.final_problems_per_task=8"]
    arguments = ["experiment=small", "tasks=splits", *lengths]

    done = run_program(TRAIN, setup, *arguments, "name=splits", "schedule.steps=2", "schedule.save_every=1")
    assert done.code == ExitCode.FINISHED, done.output
    assert "and rollout.max_prompt_tokens is 20; such problems are counted" in done.output
    assert done.output.count("left out: the prompt of letters/") == 1
    assert "tasks.mixture.val: " in done.output
    assert (
        "split validation: none is trained on; evaluated: the same 4 in validations (evaluation.problems_per_task=4), "
        "all before and after training (evaluation.final_problems_per_task=8)"
    ) in done.output
    run = setup / "runs" / "splits"
    assert all(row["problems/prompt_too_long"] > 0 for row in metrics(run))
    evaluated = json.loads((run / "evaluation" / "final.json").read_text())["problems"]
    assert Counter(each["task"] for each in evaluated)["val"] == 5
    assert max(len(each["prompt"]) for each in evaluated) <= 20

    # the same after the first step's checkpoint
    resumed = setup / "runs" / "resumed"
    shutil.copytree(run, resumed)
    shutil.rmtree(resumed / "checkpoints" / "step_000002")
    again = run_program(TRAIN, setup, *arguments, "name=resumed", "schedule.steps=2", "schedule.save_every=1")
    assert again.code == ExitCode.FINISHED, again.output
    assert metrics(resumed, seconds=False) == metrics(run, seconds=False)

    refused = run_program(TRAIN, setup, "experiment=small", "name=short", "rollout.max_prompt_tokens=3")
    assert refused.code == ExitCode.CONFIG, refused.output
    assert (
        "tasks.mixture.letters: none of its first 64 problems can be used: the prompt of letters/0-" in refused.output
    )
