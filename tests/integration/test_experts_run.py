"""A run of a mixture of experts: vLLM samples it, two groups share its experts, and it goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.programs import metrics, outcome, run_program, small_setup

RUN = (
    "experiment=small",
    "schedule.steps=4",
    "schedule.save_every=2",
    "schedule.evaluate_every=0",
    "schedule.parity_every=1",
    "parallel.expert=2",
)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("experts")
    return small_setup(directory, family="qwen3_moe", head_dim=32, num_experts=8, moe_intermediate_size=32)


def trained(run: Path) -> list[dict[str, float]]:
    """The metrics but for those of the evaluation with which a run ends."""
    rows = metrics(run, seconds=False)
    return [{name: value for name, value in row.items() if not name.startswith("evaluation/")} for row in rows]


def test_two_groups_of_experts_train_and_go_on(setup: Path) -> None:
    whole, run = setup / "runs" / "whole", setup / "runs" / "stopped"
    finished = run_program("prorl_mega.train", setup, *RUN, "name=whole", ranks=2)
    assert finished.code == 0, finished.output
    reports = [json.loads(line) for line in (whole / "parity.jsonl").read_text().splitlines()]
    gaps = [report["whole"]["max"] for report in reports]
    assert len(gaps) == 4
    print(f"seen: sampler against learner, largest difference of a token {max(gaps):.1e} nats")
    assert max(gaps) <= 1e-3, "a token near the border of two experts may go to the other one"
    assert run_program("prorl_mega.train", setup, *RUN, "schedule.steps=2", "name=stopped", ranks=2).code == 0
    assert run_program("prorl_mega.train", setup, *RUN, "name=stopped", ranks=2).code == 0
    assert trained(run) == trained(whole)
    last = "checkpoints/step_000004"
    ours, theirs = ({k: v for k, v in outcome(each / last).items() if "safetensors" in k} for each in (run, whole))
    assert ours == theirs
    assert {"policy-experts-ep00-etp00-pp00.safetensors", "policy-experts-ep01-etp00-pp00.safetensors"} <= set(ours)
