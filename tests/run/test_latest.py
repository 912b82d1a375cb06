"""LATEST is for people and scripts: whatever is in its place, resuming looks at the checkpoints themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.checkpoints import LATEST, STATE, Checkpoints
from prorl_mega.run.retention import Retention


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Two checkpoints, of steps 6 and 7."""
    made = Checkpoints(
        tmp_path / "checkpoints", ranks=Ranks.alone(), retention=Retention(newest=3), report=lambda text: None
    )
    for step in (6, 7):
        write_step(made, step)
    return made


def write_step(checkpoints: Checkpoints, step: int) -> None:
    with checkpoints.writing(step) as directory:
        (directory / STATE).write_text("{}")


def newest(checkpoints: Checkpoints) -> int:
    saved = checkpoints.newest_valid()
    assert saved is not None
    return saved.step


CONTENTS = [
    b"", b"garbage\0", b"\xff\xfe", b"step_000099\n", b"../../etc\n", b"step_000006\n", b"step_000007\0", b"x" * 10**6,
]  # fmt: skip


@pytest.mark.parametrize("content", [*CONTENTS, None], ids=itertools.count())
def test_it_is_only_a_hint(checkpoints: Checkpoints, content: bytes | None) -> None:
    latest = checkpoints.directory / LATEST
    latest.unlink() if content is None else latest.write_bytes(content)
    assert newest(checkpoints) == 7
    write_step(checkpoints, 8)
    assert latest.read_text() == "step_000008\n"


def test_a_link_in_its_place_is_not_followed(checkpoints: Checkpoints, tmp_path: Path) -> None:
    latest, mine = checkpoints.directory / LATEST, tmp_path / "mine.txt"
    mine.write_text("mine")
    latest.unlink()
    latest.symlink_to(mine)
    assert newest(checkpoints) == 7
    write_step(checkpoints, 8)
    assert (mine.read_text(), latest.read_text()) == ("mine", "step_000008\n")
