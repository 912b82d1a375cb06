"""A save in which the disk is full, or a signal comes, at every moment of it: what is left can always be gone on from.

One checkpoint is kept, so that each deletion is of the last one but the newest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_run import toy_config, toy_train

from prorl_mega.config.faults import SITES, FaultAction, FaultConfig
from prorl_mega.config.schema import RunConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode, StorageError
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.manifest import NAME, complaints, list_files, read
from prorl_mega.run.summary import read_summary

STEPS, SAVED, FAULTY = 9, 3, 6
SAVING = [site for site in SITES if site.startswith("save/")]
WRITING = [site for site in SAVING if site != "save/done"]  # nothing is written there
NUMBERS = ("step", "reward/mean", "policy/kl", "policy/loss", "evaluation/pass@1")


def config(root: Path, *faults: FaultConfig) -> RunConfig:
    made = toy_config(root, STEPS, save_every=SAVED, keep_checkpoints=1)
    made.faults = list(faults)
    return made


def numbers(root: Path) -> list[dict[str, Any]]:
    rows = read_rows(root / "toy" / "metrics.jsonl")
    return [{name: row[name] for name in NUMBERS if name in row} for row in rows]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    root = tmp_path_factory.mktemp("expected")
    assert toy_train(config(root), Ranks.alone()) is ExitCode.FINISHED
    return numbers(root)


def whole_checkpoints(root: Path) -> list[int]:
    """The steps of the checkpoints on disk, which are all that is there, and whole."""
    folder = root / "toy" / "checkpoints"
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in found:
        listing = read(path)
        assert complaints(path, listing, list(listing.files)) == [], path
        assert {*listing.files, NAME} == set(list_files(path))
    assert {path.name for path in folder.iterdir()} <= {"LATEST", *(path.name for path in found)}, "something is left"
    return [int(path.name.removeprefix("step_")) for path in found]


def goes_on(root: Path, faults: list[FaultConfig], expected: list[dict[str, Any]]) -> None:
    assert len(list((root / "toy" / "faults").iterdir())) == len(faults), "not all of them were caused"
    assert toy_train(config(root, *faults), Ranks.alone()) is ExitCode.FINISHED
    assert numbers(root) == expected
    assert whole_checkpoints(root) == [STEPS]


@pytest.mark.parametrize("site", WRITING)
def test_a_full_disk_at_any_moment_of_a_save(site: str, tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    fault = FaultConfig(site=site, action=FaultAction.full, step=FAULTY)
    with pytest.raises(StorageError, match=rf"writing checkpoint {FAULTY} failed: .*No space left on device.*{site}"):
        toy_train(config(tmp_path, fault), Ranks.alone())
    summary = read_summary(tmp_path / "toy")
    assert (summary["exit_code"], summary["step"]) == (30, SAVED)
    has_its_name = WRITING.index(site) > WRITING.index("save/manifest")
    assert whole_checkpoints(tmp_path) == ([SAVED, FAULTY] if has_its_name else [SAVED])
    goes_on(tmp_path, [fault], expected)


@pytest.mark.parametrize("site", ["save", *SAVING])
def test_a_signal_at_any_moment_of_a_save(site: str, tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    fault = FaultConfig(site=site, action=FaultAction.terminate, step=FAULTY)
    assert toy_train(config(tmp_path, fault), Ranks.alone()) is ExitCode.SAVED_AFTER_SIGNAL
    assert whole_checkpoints(tmp_path) == [FAULTY]
    assert len(numbers(tmp_path)) == FAULTY
    goes_on(tmp_path, [fault], expected)


HANGING = """
import sys
from pathlib import Path
from helpers.toy_run import toy_train
from prorl_mega.config.faults import FaultAction, FaultConfig
from prorl_mega.distributed.ranks import Ranks
from test_save_faults import FAULTY, config
fault = FaultConfig(site=sys.argv[2], action=FaultAction.hang, step=FAULTY)
sys.exit(toy_train(config(Path(sys.argv[1]), fault), Ranks.alone()))
"""


@pytest.mark.parametrize("site", ["save/state", "save/manifest", "save/renamed", "save/latest"])
def test_two_signals_in_a_save_end_it_at_once(site: str, tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    """A save that stands still: the disk does not answer."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent), *filter(None, sys.path)])}
    command = [sys.executable, "-c", HANGING, str(tmp_path), site]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            witness = tmp_path / "toy" / "faults" / f"00-{site.replace('/', '_')}-1.json"
            deadline = time.monotonic() + 60
            while not witness.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert "SIGINT: stopping" in "".join(process.stderr.readline() for _ in range(2))
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 128 + signal.SIGINT
        finally:
            process.kill()
    names = {path.name for path in (tmp_path / "toy" / "checkpoints").iterdir()}
    assert {f"step_{SAVED:06d}", f"step_{FAULTY:06d}"} & names
    assert (tmp_path / "toy" / "checkpoints" / f"step_{SAVED:06d}" / NAME).exists()
    goes_on(tmp_path, [FaultConfig(site=site, action=FaultAction.hang, step=FAULTY)], expected)
