"""Matches with a corpus, against trying all; and indexes that are damaged, old, or in parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from helpers.corpora import build, longest, two_pointers, uniqueness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prorl_mega.errors import DataError
from prorl_mega.evaluation.creativity import index_writer
from prorl_mega.evaluation.creativity.index import CorpusIndex
from prorl_mega.evaluation.creativity.index_writer import IndexWriter, Passage, sorted_suffixes
from prorl_mega.evaluation.creativity.manifest import IndexedFile
from prorl_mega.evaluation.creativity.uniqueness import RANGE, coverage, runs
from prorl_mega.evaluation.creativity.uniqueness import uniqueness as by_length


def words(letters: str, most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(letters), max_size=most)


def repetitive(letters: str, most: int) -> st.SearchStrategy[list[str]]:
    """Words that come again in the same order."""
    return st.builds(lambda part, times: (part * times)[:most], words(letters, 9), st.integers(1, 6)) | words(
        letters, most
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(repetitive("abc", 40), min_size=1, max_size=5).filter(any),
    text=repetitive("abcd", 40),
    gap=st.integers(0, 60),
    shard=st.sampled_from([3, 20, 1000]),
)
def test_matches_are_those_of_trying_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: list[list[str]], text: list[str], gap: int, shard: int
) -> None:
    monkeypatch.setattr(index_writer, "FEWEST", 1)
    monkeypatch.setattr(index_writer, "fsync_path", lambda path: None)  # which takes longer than all the rest
    shutil.rmtree(tmp_path / "index", ignore_errors=True)
    index = build(tmp_path / "index", [" ".join(each) for each in documents], shard_words=shard)
    asked: list[str | None] = [None if place == gap else word for place, word in enumerate(text)]
    lengths = index.longest(asked)
    assert lengths.tolist() == longest(documents, asked)
    unbroken = index.longest(text)
    if text:
        covered = coverage(unbroken)
        assert by_length(covered) == pytest.approx([uniqueness(documents, text, least) for least in RANGE])
    assert [tuple(each) for each in runs(unbroken)] == two_pointers(documents, text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.sampled_from([5, 300, 70_000, 20_000_000]))
def test_suffixes_are_sorted(content: list[int], vocabulary: int) -> None:
    """Numbers of one to four bytes, whose order a byte in the wrong place would change."""
    ids = np.asarray([each * (vocabulary // 5) for each in content], np.int32)
    expected = sorted((start for start in range(len(ids)) if ids[start]), key=lambda start: ids[start:].tolist())
    assert sorted_suffixes(ids, vocabulary).tolist() == expected


def test_no_match_goes_over_the_border_of_documents(tmp_path: Path) -> None:
    text = [*"abcdefghij"]
    index = build(tmp_path / "index", ["a b c d e", "f g h i j"])
    assert index.longest(text).tolist() == [5, 4, 3, 2, 1, 5, 4, 3, 2, 1]
    lines = build(tmp_path / "lines", [["a b c d e", "", "f g h i j"]])
    assert lines.longest(text).tolist() == [*range(10, 0, -1)]


def test_places_of_a_run(tmp_path: Path) -> None:
    index = build(tmp_path / "index", [["title", "", "one two three", "four five six"], "zero one two three four ."])
    times, places = index.occurrences(["two", "three", "four"], 5)
    assert times == 2
    assert [(each.file, each.line, each.before, each.text, each.after) for each in places] == [
        ("0.txt", 3, "title one", "two three four", "five six"),
        ("1.txt", 1, "zero one", "two three four", "."),
    ]
    assert index.occurrences(["two", "three", "four"], 1)[0] == 2
    assert index.occurrences(["two", "four"], 5) == index.occurrences(["unknown"], 5) == (0, [])


def test_a_long_document_is_cut_and_its_runs_are_found_over_the_cut(tmp_path: Path) -> None:
    lines = [" ".join(f"w{10 * line + word}" for word in range(10)) for line in range(500)]
    text = " ".join(lines).split()
    index = build(tmp_path / "index", [lines])
    manifest = index.manifest
    assert len(manifest.shards) > 5
    assert (manifest.words, manifest.documents) == (5000, 1)
    whole = index_writer.OVERLAP
    assert all(length >= min(whole, len(text) - start) for start, length in enumerate(index.longest(text)))
    for start in range(0, 4990, 37):
        _, places = index.occurrences(text[start : start + 10], 9)
        assert {each.line for each in places} <= {start // 10 + 1, start // 10 + 2}
        assert places[0].line == start // 10 + 1 or len(places) > 1


def damaged(part: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        path = directory / "shard-00000" / part
        path.write_bytes(change(path.read_bytes()))

    return damage


def forged(part: str, value: int) -> Callable[[Path], None]:
    """A number that leads out of an array, with the checksum that belongs to it."""

    def forge(directory: Path) -> None:
        path = directory / "shard-00000" / part
        array = np.load(path)
        array.reshape(-1)[-2] = value
        np.save(path, array)
        manifest(lambda content: content["shards"][0]["digests"].update({part: blake3(path.read_bytes()).hexdigest()}))(
            directory
        )

    return forge


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        path = directory / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged("suffixes.npy", lambda content: content[:-4]), r"suffixes\.npy: damaged .*build the index again"),
        (damaged("vocabulary.txt", lambda content: content[:-1] + b"z"), r"vocabulary\.txt: damaged"),
        (forged("suffixes.npy", 1 << 30), "leads out"),
        (forged("suffixes.npy", -7), "leads out"),
        (forged("words.npy", 1 << 30), "leads out"),
        (forged("places.npy", 1 << 30), "leads out"),
        (lambda directory: (directory / "shard-00000" / "words.npy").unlink(), r"words\.npy: damaged"),
        (lambda directory: (directory / "manifest.json").unlink(), r"holds no index"),
        (lambda directory: (directory / "manifest.json").write_text("{"), r"manifest\.json: cannot be read"),
        (manifest(lambda content: content.update(format=2)), "format 2 .*build it again"),
        (manifest(lambda content: content.update(tokenisation="words/0")), "words/0; .*build it again"),
        (manifest(lambda content: content["shards"][0].update(name="../x")), "is no shard"),
        (manifest(lambda content: content.update(shards=[])), "no words"),
    ],
)
def test_an_index_that_cannot_be_used_is_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    build(tmp_path / "index", ["a b c d e f", "g h i"])
    damage(tmp_path / "index")
    with pytest.raises(DataError, match=message):
        CorpusIndex(tmp_path / "index")


def test_there_is_a_whole_index_or_none(tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path / "index", shard_words=1000)
    file = IndexedFile(name="x", bytes=1, digest="-")
    writer.add([Passage(0, line, "a b c " * 400, True) for line in range(1, 4)], file)
    assert len(list((tmp_path / "index.building").iterdir())) == 3
    with pytest.raises(DataError, match="no index"):  # as if the process had been killed here
        CorpusIndex(tmp_path / "index")
    assert build(tmp_path / "index", ["a b c"]).manifest.words == 3
    assert not (tmp_path / "index.building").exists()


def test_a_corpus_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no words"):
        build(tmp_path / "index", ["", " \n "])
    assert not list(tmp_path.iterdir())


def test_a_text_that_says_one_word_over_and_over_takes_time_in_proportion(tmp_path: Path) -> None:
    """Models do this; comparing every position with every other would be 10¹⁰ comparisons."""
    index = build(tmp_path / "index", ["word " * 100_000, "word end"], shard_words=1_000_000)
    lengths = index.longest(["word"] * 100_000)
    assert lengths.tolist() == [*range(100_000, 0, -1)]
