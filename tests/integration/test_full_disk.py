"""The disk is full in three saves of one run: each start ends with 30 and a sentence, and the last one finishes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.programs import metrics, outcome, run_program

from prorl_mega.errors import ExitCode
from prorl_mega.run.summary import read_summary

pytestmark = pytest.mark.faults
RUN = ("experiment=small", "schedule.steps=5", "schedule.save_every=1", "schedule.evaluate_every=0")
FULL = {2: "save/shards", 3: "save/manifest", 4: "save/latest"}
PLAN = ", ".join(f"{{site: {site}, action: full, step: {step}}}" for step, site in FULL.items())


def test_a_disk_that_is_full_again_and_again(setup: Path) -> None:
    run, whole = setup / "runs" / "full", setup / "runs" / "whole"
    for step, site in FULL.items():
        ended = run_program("prorl_mega.train", setup, *RUN, "name=full", f"faults=[{PLAN}]")
        assert ended.code == ExitCode.STORAGE == 30, ended.output
        assert f"error: writing checkpoint {step} failed: [Errno 28] No space left on device" in ended.output
        assert "Earlier checkpoints are untouched; free space and resume." in ended.output
        summary = read_summary(run)
        assert (summary["name"], summary["step"]) == ("STORAGE", step - 1)
        names = {path.name for path in (run / "checkpoints").iterdir()}
        assert f"step_{step - 1:06d}" in names
        assert (f"step_{step:06d}" in names) is (site == "save/latest")
        assert not any(name.endswith((".tmp", ".deleted", ".replaced")) for name in names)
        assert "Traceback" not in ended.output
    finished = run_program("prorl_mega.train", setup, *RUN, "name=full", f"faults=[{PLAN}]")
    assert finished.code == 0, finished.output
    assert len(list((run / "faults").iterdir())) == len(FULL)
    assert run_program("prorl_mega.train", setup, *RUN, "name=whole").code == 0
    assert metrics(run, seconds=False) == metrics(whole, seconds=False)
    last, differs = "checkpoints/step_000005", ("settings.yaml", "MANIFEST.json")  # the faults are settings
    ours, theirs = ({k: v for k, v in outcome(each / last).items() if k not in differs} for each in (run, whole))
    assert ours == theirs != {}
    print(f"seen: {len(FULL)} saves without space, and the same numbers and files in the end")
