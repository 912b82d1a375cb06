"""A file is followed through everything that runs, crashes and tools for copying do to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prorl_mega.run.jsonl import LONGEST_LINE
from prorl_mega.viewing import growing_file
from prorl_mega.viewing.growing_file import GrowingFile
from prorl_mega.viewing.places import Place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def follow(path: Path) -> GrowingFile:
    return GrowingFile(Place(path.parent.resolve()), path.name)


def test_every_line_is_read_once_and_halves_are_waited_for(path: Path) -> None:
    file = follow(path)
    assert file.read() == []
    path.write_bytes(b"one\ntw")
    assert file.read() == [b"one"]
    assert file.read() == []
    with path.open("ab") as more:
        more.write(b"o\nthree\n")
    assert file.read() == [b"two", b"three"]
    assert (file.read(), file.beginnings) == ([], 0)


def test_a_replaced_file_begins_anew(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    file = follow(path)
    file.read()
    aside = path.with_name("aside")
    aside.write_bytes(b"one\ntwo\n")  # the same content, which nobody can know before reading it
    os.replace(aside, path)
    assert (file.read(), file.beginnings) == ([b"one", b"two"], 1)


@pytest.mark.parametrize("content", [b"one\n", b"one\n2\n333\n", b"ONE\ntwo\n"], ids=["shorter", "longer", "as long"])
def test_a_file_that_is_written_over_in_place_begins_anew(path: Path, content: bytes) -> None:
    path.write_bytes(b"one\ntwo\n")
    file, inode = follow(path), path.stat().st_ino
    file.read()
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))  # by a tool that keeps times
    assert path.stat().st_ino == inode
    assert (file.read(), file.beginnings) == (content.splitlines(), 1)


def test_a_file_may_vanish_and_come_back(path: Path) -> None:
    path.write_bytes(b"one\n")
    file = follow(path)
    file.read()
    path.unlink()
    assert (file.read(), file.beginnings) == ([], 1)
    path.write_bytes(b"two\n")
    assert file.read() == [b"two"]


def test_a_long_file_comes_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_file, "CHUNK", 100)
    lines = [b"%07d" % index for index in range(100)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    file, found = follow(path), []
    while not file.is_at_end:
        found.append(file.read())
    assert [line for part in found for line in part] == lines
    assert max(map(len, found)) == 12


def test_a_line_without_an_end_is_skipped(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"one\n")
        file.truncate(2 * LONGEST_LINE)  # zeros
        file.seek(0, os.SEEK_END)
        file.write(b"\ntwo\n")
    reader, found = follow(path), []
    for _ in range(40):
        found += reader.read()
    assert found == [b"one", b"two"]
    assert reader.is_at_end


def test_what_is_no_file_is_not_there(tmp_path: Path, path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_bytes(b"secret\n")
    path.symlink_to(secret)
    assert follow(path).read() == []
    path.unlink()
    os.mkfifo(path)  # opening it to read would wait for a writer
    assert follow(path).read() == []
    path.unlink()
    path.mkdir()
    assert follow(path).read() == []
