"""Checkpoints whose files are forced to the disk, hashed and read back in a thread, while the loop goes on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from helpers.thread_ranks import run_ranks

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import StorageError
from prorl_mega.run import manifest
from prorl_mega.run.checkpoints import LATEST, STATE, Checkpoints
from prorl_mega.run.retention import Retention


def checkpoints_in(directory: Path, ranks: Ranks | None = None) -> Checkpoints:
    ranks = ranks or Ranks.alone()
    return Checkpoints(directory, ranks=ranks, retention=Retention(newest=2), report=lambda text: None)


def write_step(checkpoints: Checkpoints, step: int) -> None:
    with checkpoints.writing(step) as directory:
        (directory / STATE).write_text(json.dumps({"value": step}))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_is_none_until_it_is_complete(tmp_path: Path) -> None:
    """The files are those of the moment in which they were written; a process that dies before has the one before."""
    checkpoints = checkpoints_in(tmp_path)
    write_step(checkpoints, 1)
    with checkpoints.begin(2) as directory:
        (directory / STATE).write_text(json.dumps({"value": 2}))
    assert checkpoints.unfinished == 2
    assert names_in(tmp_path) == [LATEST, "step_000001", "step_000002.tmp"]
    assert checkpoints_in(tmp_path).newest_valid().step == 1  # type: ignore[union-attr]  # another process would look so
    while not checkpoints.complete(wait=False):
        time.sleep(0.01)
    assert checkpoints.unfinished is None
    found = checkpoints_in(tmp_path).newest_valid()
    assert found is not None
    assert (found.step, found.state) == (2, {"value": 2})


def test_one_slow_rank_holds_up_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    seal = manifest.seal

    def slow(path: Path) -> manifest.FileEntry:
        if path.name == "rank_00001.safetensors":
            goes_on.wait(30)
        return seal(path)

    monkeypatch.setattr(manifest, "seal", slow)

    def work(ranks: Ranks) -> list[bool]:
        checkpoints = checkpoints_in(tmp_path, ranks)
        with checkpoints.begin(1) as directory:
            (directory / f"rank_{ranks.rank:05d}.safetensors").write_text(str(ranks.rank))
            if ranks.is_first:
                (directory / STATE).write_text("{}")
        before = checkpoints.complete(wait=False)
        goes_on.set()
        return [before, checkpoints.complete(wait=True)]

    assert run_ranks(3, work) == [[False, True]] * 3
    assert names_in(tmp_path) == [LATEST, "step_000001"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_an_error_of_one_rank_is_raised_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    seal = manifest.seal

    def failing(path: Path) -> manifest.FileEntry:
        if path.name == STATE:
            raise error
        return seal(path)

    monkeypatch.setattr(manifest, "seal", failing)

    def work(ranks: Ranks) -> None:
        checkpoints = checkpoints_in(tmp_path, ranks)
        with checkpoints.begin(1) as directory:
            if ranks.is_first:
                (directory / STATE).write_text("{}")
                (directory / "a.txt").write_text("a")
        checkpoints.complete(wait=True)

    found = run_ranks(2, work)
    assert all(isinstance(each, StorageError) and "writing checkpoint 1" in str(each) for each in found), found
    assert names_in(tmp_path) == []


def test_what_reads_back_otherwise_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal = manifest.seal

    def broken(path: Path) -> manifest.FileEntry:
        entry = seal(path)
        path.write_text("{ }")
        return entry

    checkpoints = checkpoints_in(tmp_path)
    write_step(checkpoints, 1)
    monkeypatch.setattr(manifest, "seal", broken)
    with checkpoints.begin(2) as directory:
        (directory / STATE).write_text("{}")
    with pytest.raises(StorageError, match=r"reads back differently: state\.json has 3 bytes instead of 2"):
        checkpoints.complete(wait=True)
    assert names_in(tmp_path) == [LATEST, "step_000001"]
