"""`python -m prorl_mega.train` from the first step to the last, as one process and in two layouts of two ranks."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.programs import Finished, Program, metrics, outcome, run_program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SHARDS = {"policy", "reference", "optimizer", "random"}


SHORTER = ("schedule.steps=3", "schedule.reset.every=2", "schedule.reset.min_distance=2")


def by_position(run: Path) -> list[tuple[int, int]]:
    """Positions and numbers of tokens in the parity report of the first step."""
    report = json.loads((run / "parity.jsonl").read_text().splitlines()[0])
    return [(each["first"], each["tokens"]) for each in report["by_position"]]


def evaluation(run: Path, label: str) -> dict[str, Any]:
    return json.loads((run / "evaluation" / f"{label}.json").read_text())


def shards(checkpoint: Path) -> dict[str, set[str]]:
    """The parts of the state that each shard of the model has."""
    found: dict[str, set[str]] = {}
    for file in checkpoint.glob("*.safetensors"):
        part, tensor, pipeline, *_ = file.stem.split("-")
        found.setdefault(f"{tensor}-{pipeline}", set()).add(part)
    return found


def check_kl(rows: list[dict[str, Any]]) -> None:
    """Exactly 0 where the reference is the policy that is updated: in the first step, and after every reset."""
    equal = True
    for row in rows:
        assert (row["policy/kl"] == 0) is equal, row["step"]
        assert row["policy/kl"] >= 0
        equal = row["reference/reset"] == 1.0


def test_one_process_leaves_a_complete_run_directory(uninterrupted: tuple[Finished, Path]) -> None:
    finished, run = uninterrupted
    assert finished.code == 0, finished.output
    assert "Traceback" not in finished.output
    assert sorted(path.name for path in run.iterdir()) == [
        "LOCK",
        "checkpoints",
        "config.yaml",
        "console.log",
        "decisions.jsonl",
        "evaluation",
        "metrics.jsonl",
        "parity.jsonl",
        "report.html",
        "report.png",
        "run_summary.json",
        "samples",
        "starts.jsonl",
        "tensorboard",
    ]
    assert (run / "LOCK").read_text() == ""
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["LATEST", "step_000009", "step_000010"]
    assert (run / "checkpoints" / "LATEST").read_text() == "step_000010\n"
    assert shards(run / "checkpoints" / "step_000010") == {"tp00-pp00": SHARDS}
    assert sorted(path.stem for path in (run / "samples").iterdir()) == [f"step_{n:06d}" for n in range(1, 11)]
    assert [path.stat().st_size > 0 for path in (run / "tensorboard").glob("events.out.tfevents.*")] == [True]
    assert yaml.safe_load((run / "config.yaml").read_text())["recipe"]["samples_per_prompt"] == 4
    assert "finished 10 steps" in (run / "console.log").read_text()
    for label, step in (("base", 0), ("final", 10)):
        result = evaluation(run, label)
        assert (result["step"], len(result["problems"])) == (step, 2 * 3)
        assert 0 <= result["metrics"]["evaluation/pass@1"] <= result["metrics"]["evaluation/pass@2"] <= 1


def test_one_process_metrics(uninterrupted: tuple[Finished, Path]) -> None:
    rows = metrics(uninterrupted[1])
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["step"] for row in rows if row["reference/reset"]] == [4, 8]
    assert [row["reference/resets"] for row in rows] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    check_kl(rows)
    assert [row["step"] for row in rows if "evaluation/pass@1" in row] == [2, 4, 6, 8, 10]
    for row in rows:
        assert row["sampler/logprob_gap_max"] <= 1e-5
        assert row["groups/kept"] == 4
        assert row["learner/sequences"] == 16
        assert row["learner/microbatches"] > 1
        assert row["optimizer/grad_norm"] > 0
        assert 0 < row["reward/mean"] < 1
        assert row["verifier/infra_errors"] == 0
        dropped = sum(value for name, value in row.items() if name.startswith("groups/dropped/"))
        assert row["groups/sampled"] == row["groups/kept"] + dropped
        phases = [row[f"seconds/{name}"] for name in ("rollout", "reference", "update", "push")]
        assert 0 < sum(phases) <= row["seconds/step"]


def test_step_0_is_the_validation_of_the_base(uninterrupted: tuple[Finished, Path]) -> None:
    """Two of the base's three problems per task, the ones that every later evaluation in training has."""
    run = uninterrupted[1]
    first, *rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (first["step"], rows[0]["step"]) == (0, 1)
    validated = next(row for row in rows if "evaluation/pass@1" in row)
    assert first.keys() - {"step"} == {name for name in validated if name.startswith("evaluation/")}
    assert (first["evaluation/problems"], evaluation(run, "base")["metrics"]["evaluation/problems"]) == (4, 6)
    problems = evaluation(run, "base")["problems"]
    chosen = [problem for at, problem in enumerate(problems) if at % 3 < 2]
    rate = sum(problem["solved"] / problem["samples"] for problem in chosen) / 4
    assert first["evaluation/pass@1"] == pytest.approx(rate)
    accumulator = EventAccumulator(str(run / "tensorboard"))
    accumulator.Reload()
    points = {event.step: event.value for event in accumulator.Scalars("evaluation/pass@1")}
    assert points.keys() == {0, 2, 4, 6, 8, 10}
    assert points[0] == pytest.approx(first["evaluation/pass@1"])


@pytest.mark.parametrize(
    ("name", "overrides", "parts"),
    [
        ("one_engine", ["parallel.tensor=2", "rollout.tensor=2"], {"tp00-pp00", "tp01-pp00"}),
        ("two_engines", ["parallel.pipeline=2", "rollout.tensor=1"], {"tp00-pp00", "tp00-pp01"}),
    ],
)
def test_two_ranks_begin_as_one_does(
    name: str,
    overrides: list[str],
    parts: set[str],
    setup: Path,
    run_arguments: tuple[str, ...],
    uninterrupted: tuple[Finished, Path],
) -> None:
    """Weights, prompts and seeds of the first step are the same in every layout, so are its samples and its numbers.

    Log-probabilities differ by rounding (about 1e-6 here), which changes a sampled token only where two of them are
    that close: for the 200 tokens of a step that has a probability of some 1e-4. After the first optimizer step
    nothing has to be equal any more: AdamW divides a gradient by its own size, however small and uncertain it is.
    """
    arguments = [*run_arguments, *SHORTER, f"name={name}", *overrides]
    finished = run_program("prorl_mega.train", setup, *arguments, ranks=2)
    assert finished.code == 0, finished.output
    assert "Traceback" not in finished.output
    run, alone = setup / "runs" / name, uninterrupted[1]
    assert set(shards(run / "checkpoints" / "step_000003")) == parts
    rows = metrics(run, seconds=False)
    assert [row["step"] for row in rows] == [1, 2, 3]
    check_kl(rows)
    assert max(row["sampler/logprob_gap_max"] for row in rows) <= 1e-5
    assert evaluation(run, "final")["step"] == 3

    first = metrics(alone, seconds=False)[0]
    assert rows[0] == pytest.approx(first, rel=1e-4, abs=1e-5)
    counted = [key for key in first if key.startswith(("groups/", "reward/", "length/", "pass/", "learner/"))]
    assert {key: rows[0][key] for key in counted} == {key: first[key] for key in counted}
    samples = Path("samples") / "step_000001.jsonl"
    assert (run / samples).read_text() == (alone / samples).read_text()
    assert by_position(run) == by_position(alone)
    assert evaluation(run, "base")["problems"] == evaluation(alone, "base")["problems"]


def test_two_ranks_that_are_stopped_go_on_as_if_they_had_not(setup: Path, run_arguments: tuple[str, ...]) -> None:
    """torchrun hands SIGTERM to its ranks; they agree on the step after which they stop."""
    arguments = (*run_arguments, *SHORTER, "parallel.tensor=2", "rollout.tensor=2")
    whole, run = setup / "runs" / "one_engine", setup / "runs" / "stopped"
    if not whole.exists():  # the test before has left it
        assert run_program("prorl_mega.train", setup, *arguments, "name=one_engine", ranks=2).code == 0

    with Program("prorl_mega.train", setup, *arguments, "name=stopped", ranks=2) as program:
        program.wait_until(lambda: len(metrics(run)) == 1)
        program.send(signal.SIGTERM)
        stopped = program.finish()
    assert stopped.code != 0
    assert "SIGTERM: stopping; what is finished will be kept" in stopped.output
    done = len(metrics(run))
    assert done < 3
    assert (run / "checkpoints" / "LATEST").read_text() == f"step_{done:06d}\n"

    last = run_program("prorl_mega.train", setup, *arguments, "name=stopped", ranks=2)
    assert last.code == 0, last.output
    assert f"resuming after step {done}" in last.output
    assert metrics(run, seconds=False) == metrics(whole, seconds=False)
    for part in ("checkpoints/step_000003", "evaluation", "samples"):
        assert outcome(run / part) == outcome(whole / part), part


def test_an_engine_that_computes_another_model_ends_the_first_step(setup: Path, run_arguments: tuple[str, ...]) -> None:
    """By a bound that rounding alone passes; the samples of the step are there, a checkpoint of it is not."""
    arguments = [*run_arguments, *SHORTER, "name=disagreement", "rollout.max_logprob_gap=1e-12"]
    finished = run_program("prorl_mega.train", setup, *arguments)
    assert finished.code == 23, finished.output
    assert "engine and learner do not compute the same model" in finished.output
    assert "rollout.max_logprob_gap is 1e-12" in finished.output
    assert "Traceback" not in finished.output
    run = setup / "runs" / "disagreement"
    assert not (run / "metrics.jsonl").exists() or metrics(run) == []
    assert not list((run / "checkpoints").glob("step_*"))
