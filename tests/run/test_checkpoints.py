"""Checkpoints survive what happens to them: processes that die, disks that fill up, bits that flip."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.thread_ranks import run_ranks
from safetensors.numpy import load_file, save_file

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import CheckpointError, ExitCode, RolloutError, StorageError
from prorl_mega.run.checkpoints import BEST, LATEST, STATE, Checkpoints, SavedCheckpoint
from prorl_mega.run.manifest import NAME
from prorl_mega.run.retention import Retention


def checkpoints_in(
    directory: Path,
    *,
    keep: int = 2,
    ranks: Ranks | None = None,
    said: list[str] | None = None,
    retention: Retention | None = None,
) -> Checkpoints:
    report = said.append if said is not None else (lambda text: None)
    retention = retention or Retention(newest=keep)
    return Checkpoints(directory, ranks=ranks or Ranks.alone(), retention=retention, report=report)


def write_step(checkpoints: Checkpoints, step: int, *, rank: int = 0, size: int = 2000) -> None:
    with checkpoints.writing(step) as directory:
        save_file({"weights": np.full(size, step, np.float32)}, directory / f"rank_{rank:05d}.safetensors")
        if rank == 0:
            (directory / "nested").mkdir()
            (directory / "nested" / "note.txt").write_text(f"step {step}")
            (directory / STATE).write_text(json.dumps({"step": step}))


def assert_consistent(saved: SavedCheckpoint | None) -> int:
    assert saved is not None
    assert saved.state == {"step": saved.step}
    assert (load_file(saved.directory / "rank_00000.safetensors")["weights"] == saved.step).all()
    assert (saved.directory / "nested" / "note.txt").read_text() == f"step {saved.step}"
    return saved.step


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_is_found_again_and_old_ones_are_pruned(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path, keep=2)
    assert checkpoints.newest_valid() is None
    for step in (1, 2, 3):
        write_step(checkpoints, step)
    assert names_in(tmp_path) == [LATEST, "step_000002", "step_000003"]
    assert (tmp_path / LATEST).read_text() == "step_000003\n"
    assert assert_consistent(checkpoints.newest_valid()) == 3


@pytest.mark.parametrize("keep", [1, 4, 5])
def test_as_many_are_kept_as_the_setting_says(tmp_path: Path, keep: int) -> None:
    checkpoints = checkpoints_in(tmp_path, keep=keep)
    for step in range(1, 8):
        write_step(checkpoints, step)
        assert names_in(tmp_path)[1:] == [f"step_{each:06d}" for each in range(max(1, step - keep + 1), step + 1)]


def test_every_kth_and_the_best_stay_while_others_go(tmp_path: Path) -> None:
    retention = Retention(newest=1, every=4, best=True)
    checkpoints = checkpoints_in(tmp_path, retention=retention)
    scores = {1: 0.2, 2: 0.5, 5: 0.4, 6: float("nan"), 7: 0.5, 9: 0.6}
    kept = {1: [1], 2: [2], 3: [2, 3], 4: [2, 4], 5: [2, 4, 5], 6: [2, 4, 6], 7: [2, 4, 7], 8: [2, 4, 8], 9: [4, 8, 9]}
    for step, expected in kept.items():
        retention.observe(step, {"evaluation/pass@1": scores[step]} if step in scores else {})
        assert retention.is_best(step) is (step in (1, 2, 9)), step
        write_step(checkpoints, step)
        assert names_in(tmp_path) == [BEST, LATEST, *(f"step_{each:06d}" for each in expected)]
        assert (tmp_path / BEST).read_text() == (
            "step_000001" if step == 1 else f"step_{9 if step == 9 else 2:06d}"
        ) + "\n"


def test_a_damaged_best_makes_room_for_the_next_best(tmp_path: Path) -> None:
    retention = Retention(newest=1, best=True, scores={1: 0.3, 2: 0.9, 3: 0.1})
    checkpoints = checkpoints_in(tmp_path, retention=retention)
    for step in (1, 2):
        write_step(checkpoints, step)
    flip_one_bit(tmp_path / "step_000002" / STATE)
    with pytest.raises(CheckpointError):
        checkpoints.newest_valid()
    write_step(checkpoints, 3)
    assert (names_in(tmp_path), (tmp_path / BEST).read_text()) == ([BEST, LATEST, "step_000003"], "step_000003\n")
    write_step(checkpoints, 2)  # again, and intact now
    assert (names_in(tmp_path), (tmp_path / BEST).read_text()) == (
        [BEST, LATEST, "step_000002", "step_000003"],
        "step_000002\n",
    )


def test_steps_beyond_six_digits_sort_by_number(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    for step in (999_999, 1_000_000):
        write_step(checkpoints, step)
    assert assert_consistent(checkpoints.newest_valid()) == 1_000_000


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_link(path: Path) -> None:
    moved = path.parents[2] / f"moved_{path.name}"
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize("damage", [truncate, empty, flip_one_bit, remove, replace_by_link])
@pytest.mark.parametrize("name", ["rank_00000.safetensors", STATE, NAME])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    said: list[str] = []
    root = tmp_path / "checkpoints"
    checkpoints = checkpoints_in(root, said=said)
    write_step(checkpoints, 1)
    write_step(checkpoints, 2)
    damage(root / "step_000002" / name)
    assert assert_consistent(checkpoints.newest_valid()) == 1
    assert len(said) == 1
    assert "step_000002" in said[0]
    assert name in said[0] or damage is flip_one_bit  # a flipped bit in the manifest accuses the file it describes


def test_nothing_intact_is_an_error_that_names_every_refusal(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    for step in (1, 2):
        write_step(checkpoints, step)
        flip_one_bit(tmp_path / f"step_{step:06d}" / "rank_00000.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)step_000002: rank_00000.*step_000001: rank_00000") as caught:
        checkpoints.newest_valid()
    assert caught.value.exit_code == ExitCode.NO_VALID_CHECKPOINT


def test_damaged_checkpoints_do_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path, keep=2)
    write_step(checkpoints, 1)
    write_step(checkpoints, 2)
    flip_one_bit(tmp_path / "step_000002" / STATE)
    assert assert_consistent(checkpoints.newest_valid()) == 1
    write_step(checkpoints, 3)
    assert names_in(tmp_path) == [LATEST, "step_000001", "step_000003"]


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "nested/../../secret.txt", "", "./x", "a//b"])
def test_manifest_names_cannot_leave_the_checkpoint(tmp_path: Path, name: str) -> None:
    root = tmp_path / "checkpoints"
    (tmp_path / "secret.txt").write_text("outside")
    said: list[str] = []
    checkpoints = checkpoints_in(root, said=said)
    write_step(checkpoints, 1)
    path = root / "step_000001" / NAME
    content = json.loads(path.read_text())
    content["files"][name] = content["files"][STATE]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a path inside"):
        checkpoints.newest_valid()


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"format": 2}', '{"format": 1, "files": []}', "[" * 100_000, "\xff"]
)
def test_a_manifest_may_contain_anything(tmp_path: Path, content: str) -> None:
    checkpoints = checkpoints_in(tmp_path)
    write_step(checkpoints, 1)
    write_step(checkpoints, 2)
    (tmp_path / "step_000002" / NAME).write_text(content, encoding="latin-1")
    assert assert_consistent(checkpoints.newest_valid()) == 1


def test_a_checkpoint_under_another_number_is_refused(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    write_step(checkpoints, 1)
    (tmp_path / "step_000001").rename(tmp_path / "step_000009")
    with pytest.raises(CheckpointError, match="is of step 1"):
        checkpoints.newest_valid()


def die_at_call(number: int) -> None:
    """From now on, end this process without any cleaning up at the `number`-th call that changes the disk."""
    left = [number]

    def deadly(call: Callable) -> Callable:
        def called(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return call(*arguments, **options)

        return called

    for name in ("fsync", "replace", "unlink", "rmdir", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))


def test_death_at_every_call_of_a_save_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    """Kept: one. Saved: a new step, then the same step again. The process dies at the first, second, third, … call."""
    ends = []
    for number in range(1, 200):
        root = tmp_path / str(number)
        write_step(checkpoints_in(root, keep=1), 1)
        child = os.fork()
        if child == 0:
            try:
                die_at_call(number)
                write_step(checkpoints_in(root, keep=1), 2)
                write_step(checkpoints_in(root, keep=1), 2)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        checkpoints = checkpoints_in(root, keep=1)
        checkpoints.sweep()
        ends.append(assert_consistent(checkpoints.newest_valid()))
        write_step(checkpoints, 3)
        assert names_in(root) == [LATEST, "step_000003"]
        if code == 0:
            break
        assert code == 9
    assert code == 0, "the save makes more calls than were tried"
    assert len(ends) > 30
    assert ends == sorted(ends)  # the later the death, the newer the checkpoint


WRITER = """
import sys, pathlib
sys.path[:0] = {paths!r}
from test_checkpoints import checkpoints_in, write_step
checkpoints = checkpoints_in(pathlib.Path(sys.argv[1]), keep=2)
checkpoints.sweep()
saved = checkpoints.newest_valid()
step = 0 if saved is None else saved.step
while True:
    step += 1
    write_step(checkpoints, step, size=50_000)
    print(step, flush=True)
"""


def test_killed_at_random_moments_it_always_goes_on(tmp_path: Path) -> None:
    dice = random.Random(7)
    here = Path(__file__).parent
    program = WRITER.format(paths=[str(here), str(here.parent)])
    newest = 0
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # it has written at least one
        time.sleep(dice.random() * 0.15)
        os.kill(process.pid, signal.SIGKILL)
        announced = [int(line) for line in process.stdout.read().split()]
        process.wait()
        checkpoints = checkpoints_in(tmp_path)
        checkpoints.sweep()
        step = assert_consistent(checkpoints.newest_valid())
        assert step > newest
        assert step >= max(announced, default=0)
        newest = step


def in_child(work: Callable[[], None]) -> str:
    """The message of the exception that `work` raises in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writer, b"no error")
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    write_step(checkpoints, 1)
    before = (tmp_path / "step_000001" / NAME).read_bytes()

    def write_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        write_step(checkpoints, 2, size=50_000)

    message = in_child(write_too_much)
    assert message.startswith("StorageError: writing checkpoint 2 failed")
    assert "Earlier checkpoints are untouched" in message
    assert StorageError("").exit_code == 30
    assert names_in(tmp_path) == [LATEST, "step_000001"]
    assert (tmp_path / "step_000001" / NAME).read_bytes() == before
    assert assert_consistent(checkpoints.newest_valid()) == 1


def test_several_ranks_write_and_verify_their_shares(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> SavedCheckpoint | None:
        checkpoints = checkpoints_in(tmp_path, ranks=ranks)
        write_step(checkpoints, 1, rank=ranks.rank)
        return checkpoints.newest_valid()

    found = run_ranks(3, work)
    assert [each.step for each in found] == [1, 1, 1]
    listed = json.loads((tmp_path / "step_000001" / NAME).read_text())
    assert listed["world_size"] == 3
    assert sorted(listed["files"]) == [
        "nested/note.txt",
        *(f"rank_{rank:05d}.safetensors" for rank in range(3)),
        STATE,
    ]


def test_damage_that_one_rank_finds_is_known_to_all(tmp_path: Path) -> None:
    run_ranks(2, lambda ranks: write_step(checkpoints_in(tmp_path, ranks=ranks), 1, rank=ranks.rank))
    flip_one_bit(tmp_path / "step_000001" / "rank_00001.safetensors")
    found = run_ranks(2, lambda ranks: checkpoints_in(tmp_path, ranks=ranks).newest_valid())
    assert all(isinstance(each, CheckpointError) and "rank_00001" in str(each) for each in found)


@pytest.mark.parametrize(
    "error",
    [
        *(
            OSError(each, os.strerror(each))
            for each in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.ESTALE)
        ),
        RolloutError("gone"),
    ],
    ids=str,
)
def test_a_rank_that_cannot_write_stops_all_of_them(tmp_path: Path, error: Exception) -> None:
    def work(ranks: Ranks) -> None:
        with checkpoints_in(tmp_path, ranks=ranks).writing(1):
            if ranks.rank == 1:
                raise error

    found = run_ranks(3, work)
    assert len({type(each) for each in found}) == 1
    assert isinstance(found[0], StorageError if isinstance(error, OSError) else RolloutError)
    assert "rank 1" in str(found[0])
    assert names_in(tmp_path) == []
