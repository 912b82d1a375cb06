"""`python -m prorl_mega.evaluate` on a run, and what a run makes of evaluation settings that have changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from helpers.programs import Finished, run_program, small_setup

from prorl_mega.errors import ExitCode


def test_an_evaluation_belongs_to_a_step_and_to_its_settings(
    setup: Path, run_arguments: tuple[str, ...], uninterrupted: tuple[Finished, Path]
) -> None:
    run = setup / "runs" / "evaluated"
    shutil.copytree(uninterrupted[1], run)
    folder = run / "evaluation"
    final = json.loads((folder / "final.json").read_text())
    assert final["settings"]["evaluation.temperature"] == 0.6
    assert final["settings"]["rollout.max_response_tokens"] == 12
    earlier = final | {"label": "policy", "step": 4, "metrics": {"evaluation/pass@1": 7.0}}
    (folder / "policy.json").write_text(json.dumps(earlier))

    finished = run_program("prorl_mega.evaluate", setup, *run_arguments, "name=evaluated")
    assert finished.code == 0, finished.output
    assert "evaluating the policy on held-out problems" in finished.output
    assert "the policy at step 10: pass@1 0." in finished.output
    policy = json.loads((folder / "policy.json").read_text())
    assert policy == final | {"label": "policy"}

    records = [(run / name).read_bytes() for name in ("config.yaml", "decisions.jsonl", "metrics.jsonl")]
    finished = run_program("prorl_mega.evaluate", setup, *run_arguments, "name=evaluated", "evaluation.temperature=2")
    assert finished.code == 0, finished.output
    assert json.loads((folder / "policy.json").read_text())["settings"]["evaluation.temperature"] == 2
    assert [(run / name).read_bytes() for name in ("config.yaml", "decisions.jsonl", "metrics.jsonl")] == records

    changed = [*run_arguments, "name=evaluated", "evaluation.temperature=1.0"]
    finished = run_program("prorl_mega.train", setup, *changed)
    assert finished.code == 0, finished.output
    again = json.loads((folder / "final.json").read_text())
    assert again["settings"]["evaluation.temperature"] == 1.0
    assert again["problems"] != final["problems"]
    page = (run / "report.html").read_text()
    assert "evaluation.temperature: 0.6 and 1.0" in page
    assert "not compared" in page


def test_a_directory_is_evaluated_and_what_its_configuration_means_nothing_by_is_told(tmp_path: Path) -> None:
    setup = small_setup(tmp_path)
    untrained = run_program("prorl_mega.evaluate", setup, "experiment=small", "name=none", "model.weights=random")
    assert untrained.code == ExitCode.CONFIG, untrained.output
    assert "there is no policy to evaluate before none has a checkpoint" in untrained.output
    assert "starting the inference engine" not in untrained.output
    file = setup / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"strange_field": 3}))
    finished = run_program("prorl_mega.evaluate", setup, "experiment=small", "name=base", "model.weights=pretrained")
    assert finished.code == 0, finished.output
    assert "ignored: strange_field of" in finished.output
