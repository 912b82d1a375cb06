"""A base, its answers, training on the right ones, a run, and the page: real programs in a workflow that goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EVALUATION = ["experiment=small", "evaluation.samples=4", "evaluation.temperature=1.0", "evaluation.top_p=1.0"]


def steps(configs: Path) -> dict[str, Any]:
    here = [f"--config-dir={configs}"]
    return {
        "base": {
            "program": "warmstart",
            "arguments": [
                *here, "experiment=small_base", "steps=2", "output={output}/base", "corpus={output}/texts/all.jsonl"
            ],
            "makes": "base/config.json",
        },
        "answers": {
            "program": "evaluate",
            "arguments": [*here, *EVALUATION, "name=answers", "root={output}", "model.path={output}/base", "label=x"],
            "makes": "answers/evaluation/x.json",
            "after": ["base"],
        },
        "own": {
            "program": "warmstart",
            "arguments": [
                *here, "experiment=small_base", "model.path={output}/base", "steps=2", "output={output}/own",
                "answers={output}/answers/evaluation/x",
            ],
            "makes": "own/config.json",
            "after": ["answers"],
        },
        "run": {
            "program": "train",
            "arguments": [
                *here, "experiment=small", "name=run", "root={output}", "model.path={output}/base", "schedule.steps=2",
                "schedule.evaluate_every=0",
            ],
            "makes": "run/evaluation/final.json",
            "after": ["base"],
        },
        "page": {
            "program": "boundary",
            "arguments": ["{output}/run", "--k=2", "--output={output}"],
            "makes": "boundary.html",
            "after": ["run", "own"],
        },
    }  # fmt: skip


def workflow(setup: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prorl_mega.workflow", "flow.yaml", "--output", "runs/flow", "--jobs", "2"]
    return subprocess.run(command, cwd=setup, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_steps_are_done_once_and_the_workflow_goes_on(setup: Path) -> None:
    (setup / "flow.yaml").write_text(yaml.safe_dump({"steps": steps(setup / "configs")}))
    first = workflow(setup)
    assert first.returncode == 0, first.stdout + first.stderr
    made = setup / "runs" / "flow"
    assert (made / "boundary.html").stat().st_size > 10_000
    texts = [json.loads(line)["text"] for line in (made / "texts" / "all.jsonl").read_text().splitlines()]
    assert len(texts) == 2 * 8  # steps × problems
    assert not [text for text in texts if not re.search(r"[\n=:]\s*\S", text)]  # a problem and its solution
    assert "right answers to" in (made / "logs" / "own.log").read_text()
    before = (made / "base" / "model.safetensors").read_bytes()
    assert (made / "own" / "model.safetensors").read_bytes() != before

    (made / "run" / "evaluation" / "final.json").unlink()
    (made / "boundary.html").unlink()
    again = workflow(setup)
    assert again.returncode == 0, again.stdout + again.stderr
    lines = [line.split(":")[0] for line in again.stdout.splitlines() if "started" in line]
    assert again.stdout.startswith("5 steps, 3 done before\n")
    assert lines == ["run", "page"]
    assert (made / "base" / "model.safetensors").read_bytes() == before
