"""Runs that version 0.1 began go on: checkpoints are loaded to the bit, and the next steps are what it did itself.

`version_0_1/` was written by that program (commit a4b95dd): the model, and two runs of it of five steps, `one` on one
rank and `two` on two tensor-parallel ones, with resets after steps 2 and 4. Their files are those after step 3;
`later.jsonl` has the rows of steps 4 and 5.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.learning import bits, make_learner
from helpers.programs import metrics, run_program, small_setup
from safetensors.torch import load_file

from prorl_mega.errors import ExitCode
from prorl_mega.export import export
from prorl_mega.learner.checkpoint import file_names
from prorl_mega.report import main as report

OLD = Path(__file__).with_name("version_0_1")
CHECKPOINT = Path("checkpoints") / "step_000003"
RUN = ("experiment=small", "schedule.steps=5", "schedule.save_every=1", "schedule.evaluate_every=2",
       "schedule.reset.every=2", "schedule.reset.min_distance=2")  # fmt: skip
ROWS = 104  # of the model's vocabulary
ROUNDED = 1e-4
"""Answers to one prompt share its rows in the learner now, which adds the same numbers in another order."""


@pytest.fixture
def old_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which the runs of version 0.1 were left: `model` and `runs`."""
    setup = small_setup(tmp_path)
    shutil.rmtree(setup / "model")
    shutil.copytree(OLD / "model", setup / "model")
    for name in ("one", "two"):
        shutil.copytree(OLD / name, setup / "runs" / name)
    monkeypatch.chdir(setup)  # its settings say model.path=model
    return setup


@pytest.mark.parametrize(
    ("name", "ranks", "arguments"),
    [("one", 1, ()), ("two", 2, ("parallel.tensor=2",)), pytest.param("two", 1, (), marks=pytest.mark.slow)],
    ids=["one rank", "two ranks", "two ranks by one"],
)
def test_the_next_steps_are_those_of_version_0_1(
    old_setup: Path, name: str, ranks: int, arguments: tuple[str, ...]
) -> None:
    done = run_program("prorl_mega.train", old_setup, *RUN, *arguments, f"name={name}", ranks=ranks)
    assert done.code == ExitCode.FINISHED, done.output
    assert "resuming after step 3" in done.output
    run = old_setup / "runs" / name
    expected = [json.loads(line) for line in (OLD / name / "later.jsonl").read_text().splitlines()]
    found = metrics(run)
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5]
    decisions = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    assert [row["step"] for row in decisions if row["action"] == "reset"] == [2, 4]
    for old, new in zip(expected, found[3:], strict=True):
        assert set(compared(old)) <= set(new)
        assert {key: new[key] for key in compared(old)} == pytest.approx(compared(old), rel=ROUNDED, abs=ROUNDED)


def compared(row: dict[str, Any]) -> dict[str, float]:
    """All that does not depend on the machine, or on how sequences are put into micro-batches."""
    return {
        key: value
        for key, value in row.items()
        if not key.startswith(("seconds/", "memory/")) and key != "learner/microbatches" and value is not None
    }


def loaded(model: str, checkpoint: str, tensor: int) -> bool:
    """Whether a learner of this rank has every bit of its files after `load`."""
    learner = make_learner(Path(model), tensor=tensor, valid_vocab=ROWS)
    before = bits(learner)
    learner.load(Path(checkpoint))
    names = file_names(learner.layout.tensor_rank, learner.layout.pipeline_rank, learner.layout.data_rank)
    files = {part: load_file(Path(checkpoint) / name) for part, name in names.items() if part != "best"}
    assert torch.equal(torch.get_rng_state(), files.pop("random")["cpu"])
    found = bits(learner)
    expected = {f"{part}/{key}": value for part, tensors in files.items() for key, value in tensors.items()}
    assert any(not torch.equal(before[key], found[key]) for key in before)
    assert learner.optimizer_steps == 1
    assert set(found) == set(expected)
    return all(torch.equal(found[key], expected[key].view_as(found[key])) for key in found)


@pytest.mark.parametrize(("name", "ranks"), [("one", 1), ("two", 2)])
def test_every_bit_is_loaded(name: str, ranks: int) -> None:
    assert run_ranks(loaded, ranks, str(OLD / "model"), str(OLD / name / CHECKPOINT), ranks) == [True] * ranks


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_run_is_reported_and_exported(old_setup: Path, name: str) -> None:
    run = old_setup / "runs" / name
    assert report([str(run)]) == 0
    assert "reference reset: 2 steps since step 0" in (run / "report.html").read_text()
    assert export(run, old_setup / "exported") == (run / CHECKPOINT).absolute()
    exported = load_file(old_setup / "exported" / "model.safetensors")
    assert set(exported) == set(load_file(OLD / "model" / "model.safetensors"))
    norm = load_file(OLD / name / CHECKPOINT / "policy-tp00-pp00.safetensors")["decoder.final_layernorm.weight"]
    assert torch.equal(exported["model.norm.weight"], norm)
