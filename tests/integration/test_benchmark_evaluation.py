"""`python -m prorl_mega.evaluate benchmarks=…` on a run, with the real engine and the real verifiers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.programs import Finished, run_program

SETTINGS = ("rollout.max_prompt_tokens=100", "evaluation.max_response_tokens=6", "evaluation.samples=2")


def test_benchmarks_of_a_run_are_evaluated_alone(
    setup: Path, run_arguments: tuple[str, ...], uninterrupted: tuple[Finished, Path]
) -> None:
    run = setup / "runs" / "measured"
    shutil.copytree(uninterrupted[1], run)
    folder = setup / "data" / "benchmarks"
    folder.mkdir(parents=True)
    count = 70  # more than are compared by default
    rows = [{"problem": f"{n}+1?", "answer": n + 1, "id": f"p{n}"} for n in range(count)]
    (folder / "AIME_2024.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "amc.jsonl").write_text('{"problem": "w?", "answer": 27.0}\n')
    before = [(run / name).read_bytes() for name in ("config.yaml", "decisions.jsonl", "metrics.jsonl")]

    finished = run_program(
        "prorl_mega.evaluate", setup, *run_arguments, *SETTINGS, "name=measured", "benchmarks=aime24,amc"
    )
    assert finished.code == 0, finished.output
    assert "WARNING: 70 rows, where the published file has 30" in finished.output
    assert re.search(r"math  average  pass@1 +\d+\.\d\d\n", finished.output), finished.output
    policy = json.loads((run / "evaluation" / "policy.json").read_text())
    assert {each["task"] for each in policy["problems"]} == {"aime24", "amc"}
    keys = {each["key"] for each in policy["problems"] if each["task"] == "aime24"}
    assert keys == {f"aime24/p{n}" for n in range(count)}, "every row, and each once"
    assert policy["settings"]["rollout.max_response_tokens"] == 6
    assert policy["settings"]["tasks.mixture.aime24.options.path"] == "data/benchmarks/AIME_2024.jsonl"
    assert not [key for key in policy["settings"] if key.startswith("tasks.mixture.letters")]
    assert 0 <= policy["metrics"]["evaluation/pass@1/aime24"] <= 1
    assert 0 < policy["metrics"]["evaluation/length/aime24"] <= 6
    assert [(run / name).read_bytes() for name in ("config.yaml", "decisions.jsonl", "metrics.jsonl")] == before


@pytest.mark.slow
def test_a_run_that_is_validated_on_benchmarks_can_be_evaluated_on_others(setup: Path) -> None:
    folder = setup / "own"
    folder.mkdir()
    for name, problem in (("aime25", "1+1?"), ("amc", "w?")):
        (folder / f"{name}.jsonl").write_text(json.dumps({"problem": problem, "answer": 2}) + "\n")
    common = (
        "experiment=small", "schedule.steps=1", "name=validated", "evaluation.benchmark_directory=own", *SETTINGS,
        "parallel.max_tokens_per_microbatch=192",
    )  # fmt: skip
    trained = run_program("prorl_mega.train", setup, *common, "benchmarks=aime25")
    assert trained.code == 0, trained.output
    final = json.loads((setup / "runs" / "validated" / "evaluation" / "final.json").read_text())
    assert {each["task"] for each in final["problems"]} == {"letters", "sums", "aime25"}
    assert final["settings"]["rollout.max_response_tokens"] == 6, "of comparisons; training has 12"
    changed = run_program("prorl_mega.train", setup, *common)
    assert "tasks.mixture.aime25" in changed.output, "its metrics would not be those of one run"
    evaluated = run_program("prorl_mega.evaluate", setup, *common, "benchmarks=amc")
    assert evaluated.code == 0, evaluated.output
    policy = json.loads((setup / "runs" / "validated" / "evaluation" / "policy.json").read_text())
    assert {each["task"] for each in policy["problems"]} == {"amc"}
    assert policy["step"] == 1
