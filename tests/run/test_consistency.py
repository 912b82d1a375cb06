"""Checkpoints whose manifest agrees with what it lists, and whose content is wrong: named, and never gone on from."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import forged_checkpoints as forged
from helpers.forged_checkpoints import ALONE, LEARNER, OPTIMIZER, POLICY, RANDOM, SETTINGS, drop, put

from prorl_mega.errors import CheckpointError, ExitCode
from prorl_mega.learner.checkpoint import load_state, set_random_state
from prorl_mega.run import manifest
from prorl_mega.run.checkpoints import STATE, UNFINISHED

DEEP = "[" * 100_000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("original") / "run"
    forged.write_run(run)
    return run


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def test_what_a_run_writes_is_used(run: Path) -> None:
    said: list[str] = []
    saved = forged.checkpoints(run, said).newest_valid()
    assert saved is not None
    assert (saved.step, said) == (10, [])
    assert saved.state["controller"]["triggers"]["last_reset"] == forged.RESET


def test_the_state_of_a_curriculum_of_a_million_problems_is_read(run: Path) -> None:
    said: list[str] = []
    directory = run / "checkpoints" / "step_000010"
    forged.rewrite(directory, STATE, (directory / STATE).read_text() + " " * (1 << 27))
    saved = forged.checkpoints(run, said).newest_valid()
    assert (saved and saved.step, said) == (10, [])


@pytest.mark.parametrize(
    "name", ["note.txt", "note.json", "._state.json", "._policy-tp00-pp00.safetensors", ".DS_Store"]
)
def test_what_people_and_systems_put_there_does_not_matter(run: Path, name: str) -> None:
    (run / "checkpoints" / "step_000010" / name).write_text("x")
    said: list[str] = []
    saved = forged.checkpoints(run, said).newest_valid()
    assert (saved and saved.step, said) == (10, [])


@pytest.mark.parametrize("target", ["/etc", "/dev/null", "state.json", "nowhere"])
def test_a_link_beside_the_files_does_not_matter(run: Path, target: str) -> None:
    (run / "checkpoints" / "step_000010" / "link").symlink_to(target)
    said: list[str] = []
    saved = forged.checkpoints(run, said).newest_valid()
    assert (saved and saved.step, said) == (10, [])


def _raw(text: bytes | str) -> Callable[[Path, str], None]:
    return lambda directory, name: forged.rewrite(directory, name, text)


def _json(change: Callable[[Any], Any]) -> Callable[[Path, str], None]:
    return lambda directory, name: forged.change_json(directory, name, change)


def _yaml(change: Callable[[Any], Any]) -> Callable[[Path, str], None]:
    return lambda directory, name: forged.change_yaml(directory, name, change)


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path, str], None]:
    return lambda directory, name: forged.change_tensors(directory, name, change)


def _controller(*path: str, to: Any) -> Callable[[Path, str], None]:
    return _json(put("controller", *path, to=to))


def _problems(*path: str, to: Any) -> Callable[[Path, str], None]:
    return _json(put("problems", *path, to=to))


CASES: list[tuple[str, Callable[[Path, str], None], str]] = [
    # state.json as a whole
    (STATE, _raw("{}"), r"state\.json has the keys \[\]; 'controller' is missing"),
    (STATE, _raw("[]"), r"state\.json is \[\] and not an object"),
    (STATE, _raw("null"), r"state\.json is None and not an object"),
    (STATE, _raw(DEEP), r"state\.json cannot be read: more than 64 objects and lists inside"),
    (STATE, _raw('{"controller":' + "[" * 70 + "]" * 70 + "}"), r"state\.json cannot be read: more than 64"),
    (STATE, _raw(b"\xff{}"), r"state\.json cannot be read: not valid JSON .*utf-8"),
    (STATE, _raw("[" + "[]," * 5_000_000 + "[]]"), r"5000002 objects and lists, at most 4194304"),
    (STATE, _raw("1" * 5000), r"state\.json cannot be read: not valid JSON"),
    (STATE, _json(put("more", to=1)), r"'more' is missing or unknown"),
    (STATE, _json(drop("problems")), r"'problems' is missing or unknown"),
    (STATE, _json(put("after_step", to=99)), r"state\.json was saved after step 99, not 10"),
    (STATE, _json(put("after_step", to="10")), r"state\.json was saved after step '10', not 10"),
    # the controller
    (STATE, _json(put("controller", to=[])), r"controller state has the keys \[\]"),
    (STATE, _json(drop("controller", "triggers", "kl")), r"controller state 'triggers' has the keys"),
    (STATE, _controller("progress", "kl_factor", to=-1), r"'progress': Expected `float` > 0.0 - at `\$\.kl_factor`"),
    (STATE, _controller("progress", "kl_factor", to=float("nan")), r"not valid JSON \(NaN is no number"),
    (STATE, _controller("progress", "kl_factor", to="1"), r"Expected `float`, got `str` - at `\$\.kl_factor`"),
    (STATE, _raw('{"controller": 1e999}'), r"1e999 is beyond all numbers"),
    (STATE, _controller("progress", "entropy_integral", to=1e31), r"<= 1e\+30 - at `\$\.entropy_integral`"),
    (STATE, _controller("progress", "knob", to=-1e31), r"at `\$\.knob`"),
    (STATE, _controller("progress", "stage", to=-1), r"at `\$\.stage`"),
    (STATE, _controller("progress", "stage", to=True), r"Expected `int`, got `bool` - at `\$\.stage`"),
    (STATE, _controller("progress", "stage", to=3), r"progress\.stage=3 cannot have come about; at most 0"),
    (STATE, _controller("progress", "stage_start", to=5), r"stage_start=5 in the first stage"),
    (STATE, _controller("progress", "last_clear", to=10), r"last_clear=10 is after the last reset, 8"),
    (STATE, _controller("triggers", "last_reset", to=5000), r"last_reset=5000 lies after step 10"),
    (STATE, _controller("triggers", "best_step", to=11), r"best_step=11 lies after step 10"),
    (STATE, _controller("triggers", "record_step", to=11), r"record_step=11 lies after step 10"),
    (STATE, _controller("triggers", "stale", to=50), r"triggers\.stale=50 cannot have come about; at most 2"),
    (STATE, _controller("triggers", "far", to=3), r"triggers\.far=3 cannot have come about; at most 2"),
    (STATE, _controller("triggers", "record", to=1.5), r"Expected `float` <= 1.0 - at `\$\.record`"),
    (STATE, _controller("triggers", "record", to=None), r"record_at_reset without a record"),
    (STATE, _controller("triggers", "best", to=None), r"counts from a best score that there is not"),
    (STATE, _controller("entropy", "alarm", to="fire"), r"at `\$\.alarm`"),
    (STATE, _controller("entropy", "outside", to=10**12), r"at `\$\.outside`"),
    (STATE, _controller("entropy", "weight", to=1.5), r"at `\$\.weight`"),
    (STATE, _controller("entropy", "filtered", to=1e31), r"at `\$\.filtered`"),
    # the problems
    (STATE, _json(put("problems", to=7)), r"problems is 7 and not an object"),
    (STATE, _problems("cursors", "other", to=3), r"state\.json has a cursor of 'other'; the entries .* sums, words"),
    (STATE, _json(drop("problems", "cursors", "sums")), r"state\.json has no cursor of 'sums'"),
    (STATE, _problems("cursors", "sums", to=-1), r"mixture is broken: Expected `int` >= 0"),
    (STATE, _problems("cursors", "sums", to=2**80), r"mixture is broken: Expected `int` <="),
    (STATE, _problems("cursors", to={"sums": 0, "words": 0}), r"30 problems were drawn, and every cursor is 0"),
    (STATE, _problems("postponed", to={"sums": [10**6]}), r"what is postponed of 'sums' is not before its cursor"),
    (STATE, _problems("drawn", to="30"), r"mixture is broken"),
    (STATE, _problems("drawn", to=1), r"optimizer_steps=4; 2 to 1 are possible"),
    (STATE, _problems("files", to={"gone": 1}), r"mixture is broken"),
    (STATE, _problems("curriculum", to=7), r"curriculum is broken"),
    (STATE, _problems("curriculum", "passed_over", to=-1), r"curriculum is broken: Expected `int` >= 0"),
    (STATE, _problems("curriculum", "rates", to={"sums": [1e300, 1]}), r"curriculum is broken"),
    (STATE, _problems("curriculum", "credit", to={"sums": 0.5}), r"credit of 'sums', which has no rate"),
    (STATE, _problems("offered", to={"sums/1": 0}), r"curriculum is broken"),
    # the learner
    (LEARNER, _json(put("optimizer_steps", to=999_999)), r"optimizer_steps=999999; 2 to 30 are possible after step 10"),
    (LEARNER, _json(put("optimizer_steps", to=5)), r"learner\.json has optimizer_steps=5, state\.json 4"),
    (LEARNER, _json(put("optimizer_steps", to=0)), r"optimizer_steps=0; 2 to 30 are possible"),
    (LEARNER, _json(put("optimizer_steps", to=4.0)), r"Expected `int`, got `float` - at `\$\.optimizer_steps`"),
    (LEARNER, _json(put("tensor", to=2)), r"learner\.json is of 2 ranks, the checkpoint of 1"),
    (LEARNER, _json(put("data", to=0)), r"at `\$\.data`"),
    (LEARNER, _json(drop("pipeline")), r"missing required field `pipeline`"),
    (LEARNER, _json(put("format", to=2)), r"not a learner checkpoint of format 1"),
    (LEARNER, _raw("[]"), r"not a learner checkpoint of format 1"),
    (LEARNER, _raw(DEEP), r"learner\.json: more than 64"),
    (RANDOM, _tensors(put("cpu", to=torch.zeros(100, dtype=torch.uint8))), r"has the random states .*\[100\]"),
    (RANDOM, _tensors(put("cpu", to=torch.zeros(5056))), r"has the random states .*F32"),
    (RANDOM, _tensors(lambda tensors: tensors.update(gpu=tensors.pop("cpu"))), r"has the random states .*gpu"),
    (RANDOM, _raw(b"\xff" * 100), r"random-tp00-pp00-dp00\.safetensors is damaged"),
    # what else is read from a checkpoint
    (SETTINGS, _raw(LAUGHS), r"settings\.yaml cannot be read: more than 30000 values"),
    (SETTINGS, _raw("[]"), r"settings\.yaml cannot be read"),
    (SETTINGS, _raw(DEEP), r"settings\.yaml cannot be read: more than 64"),
    (SETTINGS, _raw(b"settings: \xff"), r"settings\.yaml cannot be read: not UTF-8"),
    (SETTINGS, _raw("x: 1" + ":1" * 1000), r"a number of 2001 characters"),
    (SETTINGS, _yaml(put("settings", "tasks", to=[])), r"tasks is \[\] and not a group of settings"),
    (
        SETTINGS,
        _yaml(put("settings", "schedule", to=3)),
        r"does not contain settings: a group is none",
    ),
    (SETTINGS, _yaml(put("settings", "optimizer", "learning_rate", to=float("nan"))), r"learning_rate is nan and not"),
    (SETTINGS, _yaml(put("settings", "seed", to="one")), r"seed is 'one', where \d+ would do"),
    (SETTINGS, _yaml(put("settings", "tasks", "mixture", "sums", to=1)), r"tasks\.mixture\.sums is 1 and not a group"),
    (SETTINGS, _yaml(put("inputs", to={"model.path": [1]})), r"settings\.yaml cannot be read"),
    (UNFINISHED, _raw("{}}"), r"unfinished\.json: not valid JSON"),
    (UNFINISHED, _raw('{"additions": [{"a": "x"}]}'), r"unfinished\.json: Expected `float`, got `str`"),
    (UNFINISHED, _raw('{"seconds": {"step": NaN}}'), r"unfinished\.json: .*seconds"),
    (UNFINISHED, _raw(b"\xff"), r"unfinished\.json: 'utf-8' codec"),
    (UNFINISHED, _raw(DEEP), r"unfinished\.json: more than 64"),
]


@pytest.mark.parametrize(("name", "forge", "message"), CASES, ids=range(len(CASES)))
def test_the_checkpoint_before_is_used(run: Path, name: str, forge: Callable[[Path, str], None], message: str) -> None:
    """Said with the file and the key, in seconds."""
    directory = run / "checkpoints" / "step_000010"
    forge(directory, name)
    listing = manifest.read(directory)
    assert manifest.complaints(directory, listing, list(listing.files)) == [], "the hashes agree"
    said: list[str] = []
    started = time.process_time()
    saved = forged.checkpoints(run, said).newest_valid()
    assert time.process_time() - started < 20
    assert saved is not None
    assert saved.step == 9
    assert len(said) == 1
    assert said[0].startswith("checkpoint step_000010: ")
    assert said[0].endswith(": not used")
    assert re.search(message, said[0]), said[0]
    assert len(said[0]) < 2000


def test_without_another_one_nothing_is_gone_on_from(run: Path) -> None:
    for step in (9, 10):
        forged.rewrite(run / "checkpoints" / f"step_{step:06d}", STATE, "{}")
    with pytest.raises(
        CheckpointError, match=r"(?s)none is intact.*step_000010: state\.json has .*step_000009"
    ) as error:
        forged.checkpoints(run).newest_valid()
    assert error.value.exit_code is ExitCode.NO_VALID_CHECKPOINT


@pytest.mark.parametrize("version", ["now", "before checkpoints knew their step"])
def test_a_copy_under_another_step(run: Path, version: str) -> None:
    whole, copy = run / "checkpoints" / "step_000010", run / "checkpoints" / "step_000099"
    whole.rename(copy)
    if version != "now":
        forged.change_json(copy, STATE, drop("after_step"))
        forged.change_json(copy, STATE, drop("optimizer_steps"))
    listing = json.loads((copy / manifest.NAME).read_text()) | {"step": 99}
    (copy / manifest.NAME).write_text(json.dumps(listing))
    said: list[str] = []
    saved = forged.checkpoints(run, said).newest_valid()
    assert saved is not None
    assert saved.step == 9
    expected = "saved after step 10, not 99" if version == "now" else "91 to 30 are possible after step 99"
    assert expected in said[0]


def test_a_checkpoint_of_an_earlier_version_is_used(run: Path) -> None:
    """It does not say its step, nor the optimizer's again."""
    for key in ("after_step", "optimizer_steps"):
        forged.change_json(run / "checkpoints" / "step_000010", STATE, drop(key))
    saved = forged.checkpoints(run).newest_valid()
    assert saved is not None
    assert saved.step == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("step", to=10.5), r"Expected `int`"),
        (put("world_size", to=0), r"Expected `int` >= 1"),
        (put("format", to="x" * 10_000), r"has format 'xxx.*\(10002 characters\)"),
        (put("files", STATE, "bytes", to=float("inf")), r"Infinity is no number"),
        (put("files", STATE, "bytes", to=-1), r"Expected `int` >= 0"),
        (put("files", STATE, "bytes", to=2**70), r"MANIFEST\.json cannot be read"),
        (put("files", STATE, "blake3", to=""), r"length"),
        (put("files", to=[]), r"Expected `object`, got `array`"),
        (drop("files", SETTINGS), r"settings\.yaml is not listed in MANIFEST\.json"),
        (drop("files", OPTIMIZER), r"optimizer-tp00-pp00-dp00\.safetensors is not listed"),
        (drop("files", STATE), r"state\.json is not listed"),
    ],
)
def test_a_manifest_that_is_wrong_itself(run: Path, change: Callable[[Any], None], message: str) -> None:
    path = run / "checkpoints" / "step_000010" / manifest.NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    said: list[str] = []
    saved = forged.checkpoints(run, said).newest_valid()
    assert saved is not None
    assert saved.step == 9
    assert re.search(message, said[0]), said[0]


def test_a_file_that_is_missing_from_both(run: Path) -> None:
    directory = run / "checkpoints" / "step_000010"
    content = json.loads((directory / manifest.NAME).read_text())
    del content["files"][OPTIMIZER]
    (directory / manifest.NAME).write_text(json.dumps(content))
    (directory / OPTIMIZER).unlink()
    said: list[str] = []
    forged.checkpoints(run, said).newest_valid()
    assert "optimizer-tp00-pp00-dp00.safetensors is missing (1 files are)" in said[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [POLICY, OPTIMIZER])
def test_tensors_that_are_not_finite(run: Path, name: str, value: float) -> None:
    directory = run / "checkpoints" / "step_000010"
    forged.change_tensors(directory, name, lambda tensors: tensors[min(tensors)].view(-1)[1:2].fill_(value))
    with pytest.raises(CheckpointError, match=rf"{name}: w.* is not finite"):
        load_state(directory, ALONE)


def test_a_random_state_of_the_right_size_that_is_none() -> None:
    before = torch.get_rng_state()
    with pytest.raises(CheckpointError, match=r"not one of torch's: Invalid mt19937 state"):
        set_random_state({"cpu": torch.zeros_like(before)}, torch.device("cpu"))
    with pytest.raises(CheckpointError, match=r"random state 'cpu' in the checkpoint is nothing"):
        set_random_state({}, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
