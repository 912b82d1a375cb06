"""Every stage of the published schedules on a tiny model, and a run whose controller does everything that it can.

The miniatures are the experiments themselves with smaller numbers: stages of one step, prompts / 16, samples / 8,
tokens / 1024. Whatever is written in `configs/` about the recipes and the stages is what runs here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.programs import ROOT, metrics, outcome, run_program, small_setup
from helpers.tiny import tiny_checkpoint

from prorl_mega.backtest import backtest, read_course
from prorl_mega.errors import ExitCode
from prorl_mega.run.decisions import read_changes, read_decisions
from prorl_mega.run.jsonl import read_rows

SCALES = {
    "prompts_per_step": 16,
    "prompts_per_update": 16,
    "samples_per_prompt": 8,
    "max_response_tokens": 1024,
}
KINDS = {
    "instruction": ["forbid_letter", "include_letter", "no_commas"],
    "letters": ["forbid_letter", "include_letter"],
}
TASKS = {
    entry: {
        "name": "instruction",
        "options": {"style": "short", "kinds": kinds, "min_constraints": 2, "max_constraints": 2},
    }
    for entry, kinds in KINDS.items()
}
COMMON = (
    "tasks=small",
    "model.recompute=none",
    "parallel.max_tokens_per_microbatch=192",
    "rollout.max_prompt_tokens=48",
    "rollout.max_concurrent=64",
    "rollout.cpu_kv_cache_gib=1",
    "rollout.enforce_eager=true",
    "rollout.sync_bucket_mib=16",
    "evaluation.problems_per_task=2",
    "evaluation.final_problems_per_task=2",
    "evaluation.samples=2",
    "tasks.workers=1",
    "optimizer.learning_rate=1e-3",
)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_setup(tmp_path_factory.mktemp("schedules"), tasks=TASKS)


def scaled(tree: Any) -> Any:
    """A stage with smaller numbers."""
    if not isinstance(tree, dict):
        return tree
    return {key: max(1, value // SCALES[key]) if key in SCALES else scaled(value) for key, value in tree.items()}


def miniature(setup: Path, experiment: str, *overrides: str) -> Path:
    """Run an experiment of `configs/` with its schedule shortened to a step per stage; its run directory."""
    text = (ROOT / "configs" / "experiment" / f"{experiment}.yaml").read_text()
    content = yaml.safe_load(text)
    (choice,) = [each["override /schedule"] for each in content["defaults"] if "override /schedule" in each]
    schedule = yaml.safe_load((ROOT / "configs" / "schedule" / f"{choice}.yaml").read_text())
    schedule["stages"] = [scaled(stage) | {"steps": 1} for stage in schedule.get("stages", [])]
    schedule |= {"steps": max(3, len(schedule["stages"])), "evaluate_every": 1, "save_every": 100}
    schedule["reset"] |= {"min_distance": 1, "every": 2 if schedule["reset"].get("every") else 0}
    (setup / "configs" / "schedule").mkdir(exist_ok=True)
    (setup / "configs" / "schedule" / "miniature.yaml").write_text(yaml.safe_dump(schedule, sort_keys=False))
    sizes = [
        f"{group}.{key}={value}"
        for group in ("recipe", "rollout")
        for key, value in scaled(content.get(group, {})).items()
        if key in SCALES
    ]
    limit = 16 if "reasoning_16k" in text else 8
    finished = run_program(
        "prorl_mega.train",
        setup,
        f"experiment={experiment}",
        "schedule=miniature",
        *COMMON,
        f"model.path={setup / 'model'}",
        f"rollout.max_response_tokens={limit}",
        f"name={experiment}",
        *sizes,
        *overrides,
    )
    assert finished.code == ExitCode.FINISHED, finished.output
    assert "Traceback" not in finished.output
    return setup / "runs" / experiment


def decisions(run: Path) -> list[tuple[int, str, str]]:
    return [(step, event.action, event.trigger) for step, event in read_decisions(run / "decisions.jsonl")]


def check_backtest(run: Path) -> None:
    """The controller says the same again when it is shown the numbers on disk."""
    course = read_course(run / "metrics.jsonl", [])
    logged = list(read_decisions(run / "decisions.jsonl"))
    assert list(backtest(course, read_rows(run / "metrics.jsonl"))) == logged
    assert logged, "an empty log proves nothing"


def test_prorl_v1(setup: Path) -> None:
    run = miniature(setup, "prorl_v1_1p5b")
    rows = metrics(run)
    assert [row["controller/stage"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row["reference/reset"] for row in rows] == [1] * 7 + [0]
    assert decisions(run) == [
        each for step in range(1, 8) for each in ((step, "next_stage", "steps"), (step, "reset", "stage"))
    ]
    assert ["reward/instruction" in row for row in rows] == [False] * 2 + [True] * 6
    assert ["reward/shaped" in row for row in rows] == [False] * 3 + [True] * 5
    assert max(row["length/max"] for row in rows[:7]) <= 8 < rows[7]["length/max"] <= 16
    samples = [row["learner/sequences"] for row in rows]
    assert samples[5] > 1.5 * samples[4]
    assert samples[7] < samples[6]
    check_backtest(run)


def test_prorl_v2(setup: Path) -> None:
    cycle = ["recipe.shaping.length_on_steps=1", "recipe.shaping.length_off_steps=1"]
    run = miniature(setup, "prorl_v2_1p5b", *cycle)
    rows = metrics(run)
    assert (2, "reset", "every") in decisions(run)
    assert [row["reward/length_penalty_on"] for row in rows] == [1, 0, 1]
    assert all(row["reward/shaped"] < row["reward/mean"] for row in rows)
    check_backtest(run)


@pytest.mark.slow
def test_brorl(setup: Path) -> None:
    run = miniature(setup, "brorl_1p5b")
    rows = metrics(run)
    assert all(row["learner/sequences"] > 8 for row in rows), "8 updates of one prompt with up to 64 samples"
    assert [row["optimizer/learning_rate"] for row in rows] == pytest.approx([1e-3 * 8**0.5] * 3)
    assert max(row["length/max"] for row in rows) > 8
    check_backtest(run)


EVENTFUL: dict[str, Any] = {
    "steps": 6,
    "evaluate_every": 1,
    "save_every": 1,
    "reset": {"decline": 1e-6, "decline_patience": 1, "min_distance": 1, "to": "best", "clear_optimizer": False},
    "kl": {"target": 0.001},
    "entropy": {
        "high": 2.5,
        "half_life": 2.0,
        "knob": "temperature",
        "knob_min": 0.5,
        "knob_max": 1.5,
        "target": 2.0,
        "proportional": 0.01,
        "integral": 0.01,
    },
    "stages": [
        {"steps": 2},
        {
            "steps": 2,
            "recipe": {"samples_per_prompt": 6, "policy_loss": {"clip_high": 0.3}},
            "rollout": {"max_response_tokens": 15, "temperature": 0.9},
            "tasks": {"mixture": {"letters": {"weight": 0}}},
        },
        {"recipe": {"kl": {"coef": 0.02}}, "tasks": {"mixture": {"letters": {"weight": 3}}}},
    ],
}


def test_resumed_at_a_boundary(setup: Path, tmp_path: Path) -> None:
    """Stopped where the second stage begins: bit for bit what an uninterrupted run is, also past the next boundary.

    On the way the reference starts in a directory of its own, policy and reference return to the best policy, and
    coefficients and temperature are adjusted at every step.
    """
    other = tiny_checkpoint(tmp_path / "other", "qwen2_tied", seed=5, **shape_of(setup / "model"))
    (setup / "configs" / "schedule").mkdir(exist_ok=True)
    (setup / "configs" / "schedule" / "eventful.yaml").write_text(yaml.safe_dump(EVENTFUL, sort_keys=False))
    arguments = ["experiment=small", "schedule=eventful", f"reference.path={other}", "reference.offload=true"]

    def go(name: str, steps: int) -> Path:
        finished = run_program("prorl_mega.train", setup, *arguments, f"name={name}", f"schedule.steps={steps}")
        assert finished.code == ExitCode.FINISHED, finished.output
        return setup / "runs" / name

    whole = go("whole", 6)
    go("parts", 2)
    parts = go("parts", 6)
    assert metrics(parts, seconds=False) == metrics(whole, seconds=False)
    logs = [list(read_decisions(run / "decisions.jsonl")) for run in (parts, whole)]
    assert logs[0] == logs[1]
    (longer,) = read_changes(parts / "decisions.jsonl")
    assert (longer.step, longer.text) == (2, "schedule.steps: 2 -> 6")
    for part in ("checkpoints/step_000006", "evaluation"):
        assert outcome(parts / part) == outcome(whole / part), part
    rows = metrics(whole, seconds=False)
    assert rows[0]["policy/kl"] > 0.01, "another reference than the policy"
    resets = [row["step"] for row in rows if row["reference/reset"]]
    assert {2, 4} <= set(resets), "where stages begin"
    assert all(rows[step]["policy/kl"] == 0 for step in resets if step < 6)
    assert (whole / "checkpoints" / "step_000006" / "best-tp00-pp00.safetensors").exists()
    assert len({row["controller/temperature"] for row in rows}) >= 4
    assert len({row["controller/kl_coef"] for row in rows}) >= 4
    check_backtest(whole)
    check_backtest(parts)


def shape_of(model: Path) -> dict[str, Any]:
    """The settings of another checkpoint of the same shape."""
    config = json.loads((model / "config.json").read_text())
    size = ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings")
    count = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    return {name: config[name] for name in (*size, *count, "bos_token_id", "eos_token_id")}
