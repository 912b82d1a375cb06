"""`python -m prorl_mega.evaluate benchmarks=…` on a run, with the real engine and the real verifiers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.programs import Finished, contents, run_program

SETTINGS = ("rollout.max_prompt_tokens=100", "evaluation.max_response_tokens=6", "evaluation.samples=2")


def tasks(file: Path) -> set[str]:
    return {each["task"] for each in json.loads(file.read_text())["problems"]}


def test_benchmarks_of_a_run_are_evaluated_alone(setup: Path, uninterrupted: tuple[Finished, Path]) -> None:
    run = setup / "runs" / "measured"
    shutil.copytree(uninterrupted[1], run)
    folder = setup / "data" / "benchmarks"
    folder.mkdir(parents=True)
    count = 70  # more than are compared by default
    rows = [{"problem": f"{n}+1?", "answer": n + 1, "id": f"p{n}"} for n in range(count)]
    (folder / "AIME_2024.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "amc.jsonl").write_text('{"problem": "w?", "answer": 27.0}\n')
    before = contents(run)

    finished = run_program("prorl_mega.evaluate", setup, "run=measured", *SETTINGS, "benchmarks=aime24,amc")
    assert finished.code == 0, finished.output
    assert "WARNING: 70 rows, where the published file has 30" in finished.output
    assert re.search(r"math  average  pass@1 +\d+\.\d\d\n", finished.output), finished.output
    file = run / "evaluation" / "step_000010_aime24-amc.json"
    assert tasks(file) == {"aime24", "amc"}
    results = json.loads(file.read_text())
    keys = {each["key"] for each in results["problems"] if each["task"] == "aime24"}
    assert keys == {f"aime24/p{n}" for n in range(count)}, "every row, and each once"
    settings, metrics = results["settings"], results["metrics"]
    assert (settings["rollout.max_response_tokens"], settings["evaluation.temperature"]) == (6, 0.6)
    assert settings["tasks.mixture.aime24.options.path"] == "data/benchmarks/AIME_2024.jsonl"
    assert not [key for key in settings if key.startswith("tasks.mixture.letters")]
    assert 0 <= metrics["evaluation/pass@1/aime24"] <= 1
    assert 0 < metrics["evaluation/length/aime24"] <= 6
    after = contents(run)
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_a_run_that_is_validated_on_benchmarks_can_be_evaluated_on_others(setup: Path) -> None:
    folder = setup / "own"
    folder.mkdir()
    for name, problem in (("aime25", "1+1?"), ("amc", "w?")):
        (folder / f"{name}.jsonl").write_text(json.dumps({"problem": problem, "answer": 2}) + "\n")
    own = "evaluation.benchmark_directory=own"
    common = ("experiment=small", "schedule.steps=1", "name=validated", own, *SETTINGS)
    trained = run_program("prorl_mega.train", setup, *common, "benchmarks=aime25")
    assert trained.code == 0, trained.output
    results = setup / "runs" / "validated" / "evaluation"
    assert tasks(results / "final.json") == {"letters", "sums", "aime25"}
    settings = json.loads((results / "final.json").read_text())["settings"]
    assert settings["rollout.max_response_tokens"] == 6, "of comparisons; training has 12"
    changed = run_program("prorl_mega.train", setup, *common)
    assert "tasks.mixture.aime25" in changed.output, "its metrics would not be those of one run"

    others = run_program("prorl_mega.evaluate", setup, "run=validated", own, *SETTINGS, "benchmarks=amc")
    assert others.code == 0, others.output
    assert tasks(results / "step_000001_amc.json") == {"amc"}
    same = run_program("prorl_mega.evaluate", setup, "run=validated")
    assert same.code == 0, same.output
    assert tasks(results / "step_000001.json") == {"letters", "sums", "aime25"}
