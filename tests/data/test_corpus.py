"""The texts of a corpus, from files that may be anything."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from prorl_mega.data import corpus
from prorl_mega.data.corpus import CorpusFile, corpus_files, texts
from prorl_mega.errors import DataError


def read(path: Path, field: str = "text") -> list[tuple[int, str, bool]]:
    return [(each.line, each.text, each.is_first) for each in texts(CorpusFile(path, path.name), field)]


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_plain_text_is_one_document_of_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "\ufeffone\r\n\nthree")
    assert read(path) == [(1, "one\r\n", True), (2, "\n", False), (3, "three", False)]


def test_rows_are_documents(tmp_path: Path) -> None:
    rows = [{"text": "one"}, {"text": "two \ud83d"}]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(path) == [(1, "one", True), (2, "two \ud83d", True)]


def test_a_table_of_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"body": ["one", "two"]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "body") == [(1, "one", True), (2, "two", True)]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_compressed(tmp_path: Path, name: str) -> None:
    content = b'{"text": "one"}\n'
    path = written(tmp_path / f"{name}.gz", gzip.compress(content))
    assert read(path) == read(written(tmp_path / name, content))


def test_a_line_without_an_end_comes_in_pieces_cut_at_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LONGEST_PIECE", 7)
    text = "wörter über Wörter in einer Zeile\nund noch eine Zeile"
    pieces = read(written(tmp_path / "a.txt", text))
    assert "".join(each for _, each, _ in pieces).split() != text.split()[:1]
    assert " ".join(each.strip() for _, each, _ in pieces).split() == text.split()
    assert {line for line, _, _ in pieces} == {1, 2}
    assert [is_first for _, _, is_first in pieces] == [True] + [False] * (len(pieces) - 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\n\x7fELF\0\0", r"a\.txt:2: has NUL bytes"),
        ("a.txt", b"fine\ncaf\xe9 au lait\n", r"a\.txt:2: invalid UTF-8"),
        ("a.txt", "fine é".encode()[:-1], r"a\.txt:1: ends within a character"),
        ("a.txt.gz", b"not compressed", r"a\.txt\.gz: not an archive"),
        ("a.txt.gz", gzip.compress(b"text " * 1000)[:-9], r"a\.txt\.gz: not an archive"),
        ("a.jsonl", b'{"text": "one"}\n{"text": ', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"body": "one", "id": 1}\n', r"a\.jsonl:1: has no text 'text' \(it has body, id\); .*--field"),
        ("a.jsonl", b'{"text": 1}\n', r"a\.jsonl:1: has no text 'text'"),
        ("a.parquet", b"PAR1 or not", r"a\.parquet: not a Parquet file"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / name, content))


def test_files_of_places(tmp_path: Path) -> None:
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / ".git").mkdir()
    for name in ("b.txt", "a.jsonl.gz", "deep/c.md", ".git/d.txt", "picture.png", "e.parquet.gz"):
        written(tmp_path / "set" / name, "x")
    names = [each.name for each in corpus_files([str(tmp_path / "set")])]
    assert names == ["set/a.jsonl.gz", "set/b.txt", "set/deep/c.md"]
    both = corpus_files([str(tmp_path / "set" / "b.txt"), str(tmp_path / "set" / "b.txt")])
    assert [each.name for each in both] == ["b.txt"]
    strange = written(tmp_path / os.fsdecode(b"caf\xe9.txt"), "x")
    assert [each.name for each in corpus_files([str(strange)])] == [r"caf\udce9.txt"]
    other = written(tmp_path / "b.txt", "y")
    names = [each.name for each in corpus_files([str(tmp_path / "set" / "b.txt"), str(other)])]
    assert names == [str(tmp_path / "set" / "b.txt"), str(other)]


@pytest.mark.parametrize(
    ("place", "message"),
    [("nowhere", "no such file"), ("empty", "has no files of text"), ("x.png", r"not read as text; .*\.jsonl")],
)
def test_places_without_texts(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    written(tmp_path / "x.png", "x")
    with pytest.raises(DataError, match=message):
        corpus_files([str(tmp_path / place)])
